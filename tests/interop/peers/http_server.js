// An HTTP server on node:http that tells what it saw. Prints {"port": N}.
'use strict';
const http = require('node:http');
const crypto = require('node:crypto');

const block = Buffer.alloc(64 * 1024);
for (let i = 0; i < block.length; i++) block[i] = (i * 31 + (i >> 8)) & 0xff;
let aborted = 0;

// Writes `left` bytes of the pattern, no faster than they are taken.
function pour(response, left) {
  while (left > 0) {
    const piece = block.subarray(0, Math.min(left, block.length));
    left -= piece.length;
    if (!response.write(piece)) {
      response.once('drain', () => pour(response, left));
      return;
    }
  }
  response.end();
}

function json(response, object) {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(object));
}

const pages = {
  describe(request, response) {
    json(response, { method: request.method, url: request.url, version: request.httpVersion, headers: request.headers });
  },
  // What arrived, after all of it has.
  digest(request, response) {
    const hash = crypto.createHash('sha256');
    let bytes = 0;
    request.on('data', piece => { bytes += piece.length; hash.update(piece); });
    request.on('end', () => json(response, {
      method: request.method, bytes, sha256: hash.digest('hex'), headers: request.headers, trailers: request.trailers,
      continued: Boolean(request.continued),
    }));
  },
  count(request, response) {
    let bytes = 0;
    request.on('data', piece => { bytes += piece.length; });
    request.on('end', () => json(response, { bytes }));
  },
  echo(request, response) {
    response.setHeader('content-type', request.headers['content-type'] || 'application/octet-stream');
    request.pipe(response);
  },
  big(request, response, bytes) {
    response.setHeader('content-length', bytes);
    if (request.method === 'HEAD') response.end(); else pour(response, Number(bytes));
  },
  chunked(request, response, bytes) {
    response.setHeader('trailer', 'x-sum');
    response.addTrailers({ 'x-sum': bytes });
    pour(response, Number(bytes));
  },
  // A line each 100 ms.
  drip(request, response, lines) {
    const timer = setInterval(() => {
      if (response.destroyed) { aborted++; clearInterval(timer); return; }
      response.write(`line ${lines}\n`);
      if (--lines === 0) { clearInterval(timer); response.end(); }
    }, 100);
  },
  status(request, response, status) {
    response.statusCode = Number(status);
    response.end();
  },
  wait(request, response, ms) {
    setTimeout(() => response.end('waited\n'), Number(ms));
  },
  hang() {
  },
  // Ends the connection before an answer, or in the middle of one.
  cut(request, response) {
    request.socket.destroy();
  },
  half(request, response) {
    response.setHeader('content-length', 1000);
    response.write('half');
    setTimeout(() => request.socket.destroy(), 50);
  },
  early(request, response) {
    response.statusCode = 403;
    response.end('not with me\n');
  },
  // Two Set-Cookie fields, which must stay two.
  cookies(request, response) {
    response.setHeader('set-cookie', ['a=1; Path=/', 'b=2']);
    response.end();
  },
  seen(request, response) {
    json(response, { aborted });
  },
};

function serve(request, response) {
  const [, page, argument] = request.url.split('?')[0].split('/');
  if (Object.hasOwn(pages, page)) {
    pages[page](request, response, argument);
  } else {
    response.statusCode = 404;
    response.end('nothing here\n');
  }
}

const server = http.createServer({ keepAliveTimeout: 60000, maxHeaderSize: 65536 }, serve);
server.on('checkContinue', (request, response) => {
  if (request.url === '/status/417') {
    response.statusCode = 417;
    response.end('no, thank you\n');
    return;
  }
  request.continued = true;
  response.writeContinue();
  serve(request, response);
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));

// An HTTP server on node:http that tells what it saw. Prints {"port": N}.
'use strict';
const http = require('node:http');

const server = http.createServer((request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/describe') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method: request.method, url: request.url, headers: request.headers }));
  } else {
    response.statusCode = 404;
    response.end('nothing here\n');
  }
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));

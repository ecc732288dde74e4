// A WebSocket server (ws) that echoes. A text message `close CODE REASON` makes it close, `drop` makes it break the connection, `ping`
// makes it ping, `push N SIZE` makes it send N messages of SIZE bytes. Paths: /echo; /refuse answers 401; anything else over HTTP is 200.
// Prints {"port": N}; says {"closed": CODE, "reason": ...} for each connection that ends.
'use strict';
const http = require('node:http');
const { WebSocketServer } = require('ws');

const say = object => console.log(JSON.stringify(object));
const server = http.createServer((request, response) => response.end(`plain ${request.url}\n`));
const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: 64 << 20,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: offered => (offered.has('two') ? 'two' : false),
});

server.on('upgrade', (request, socket, head) => {
  if (request.url === '/refuse') {
    socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nConnection: close\r\n\r\nno!\n');
    return;
  }
  sockets.handleUpgrade(request, socket, head, (ws) => {
    ws.on('message', (data, binary) => {
      const [word, first, ...rest] = binary || data.length > 200 ? [] : data.toString().split(' ');
      if (word === 'close') ws.close(Number(first), rest.join(' '));
      else if (word === 'drop') ws.terminate();
      else if (word === 'ping') ws.ping('are you there');
      else if (word === 'headers') ws.send(JSON.stringify(request.headers));
      else if (word === 'push') for (let i = 0; i < Number(first); i++) ws.send(Buffer.alloc(Number(rest[0]), i & 0xff));
      else ws.send(data, { binary });
    });
    ws.on('pong', data => ws.send(`pong ${data}`));
    ws.on('close', (code, reason) => say({ closed: code, reason: reason.toString() }));
    ws.on('error', error => say({ error: error.message }));
  });
});
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));

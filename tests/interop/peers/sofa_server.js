// A SOFARPC server (sofa-rpc-node). Configuration: port, name. Prints {"port": N} when it serves, {"signal": ...} when told to end.
'use strict';
const net = require('node:net');
const { RpcServer } = require('sofa-rpc-node').server;
const bolt = require('sofa-bolt-node');
const { config, logger, proto, say, sleep } = require('./sofa');

// As it comes, it listens on every interface.
class LoopbackServer extends RpcServer {
  get listenPorts() {
    return [{ port: this.publishPort, host: '127.0.0.1' }];
  }
}

async function main() {
  const server = new LoopbackServer({ logger, port: config.port, protocol: bolt, proto });
  server.on('error', error => logger.error(error));
  let connections = 0;
  server.on('connection', () => { connections++; });
  const noted = [];
  let calls = 0;

  server.addService({ interfaceName: 'dragoman.interop.HelloService', version: '1.0' }, {
    // Some answers take a while, so that they overtake each other.
    async echo(token) {
      if (++calls % 50 === 0) await sleep(1 + calls % 7);
      return token;
    },
    async plus(a, b) { return a + b; },
    async describe(map) { return { ...map, list: [1, 2.5, true, null, 'x'], name: config.name }; },
    async boom() { throw new Error('business failed'); },
    async wait(ms) { await sleep(ms); return 'waited'; },
    async note(text) { noted.push(text); return 'noted'; },
    async noted() { return noted; },
    async connections() { return connections; },
    async crash() { process.exit(1); },
    async who() { return config.name; },
  });
  server.addService({ interfaceName: 'dragoman.interop.ProtoService', version: '1.0' }, {
    async echo(request) {
      if (++calls % 50 === 0) await sleep(1 + calls % 7);
      return request;
    },
    async fail() { throw new Error('protobuf failed'); },
  });
  await server.start();
  say({ port: config.port });
}

main();

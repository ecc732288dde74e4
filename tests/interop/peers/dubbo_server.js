// A Dubbo server (sofa-rpc-node with dubbo-remoting). Configuration: port. Prints {"port": N} when it serves.
'use strict';
const { RpcServer } = require('sofa-rpc-node').server;
const dubbo = require('dubbo-remoting');

const config = JSON.parse(process.argv[2] || '{}');
const quiet = () => {};
const logger = { debug: quiet, info: quiet, log: quiet, warn: quiet, error: quiet };
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

// As it comes, it listens on every interface.
class LoopbackServer extends RpcServer {
  get listenPorts() {
    return [{ port: this.publishPort, host: '127.0.0.1' }];
  }
}

async function main() {
  const server = new LoopbackServer({ logger, port: config.port, protocol: Object.assign({ name: 'dubbo' }, dubbo) });
  server.on('error', quiet);
  let connections = 0, calls = 0;
  server.on('connection', () => { connections++; });
  server.addService({ interfaceName: 'dragoman.interop.HelloService', version: '1.0.0', group: '' }, {
    // Some answers take a while, so that they overtake each other.
    async echo(token) {
      if (++calls % 20 === 0) await sleep(1 + calls % 7);
      return token;
    },
    async boom() { throw new Error('business failed'); },
    async connections() { return connections; },
    async wait(text) { await sleep(Number(text)); return 'waited'; },
  });
  await server.start();
  console.log(JSON.stringify({ port: config.port }));
}

main();

// A SOFARPC client that does what it is told on standard input, one JSON object a line, and answers with {"answer": id, ...}.
//   invoke:     a call through sofa-rpc-node: port, service, method, args, codec, version, timeout_ms
//   one_way:    a call without answer through sofa-bolt-node's own client: port, service, method, args
//   heartbeat:  as sofa-rpc-node sends it on an idle connection; tells whether the reply came
//   closed:     how many of its connections have been closed by the other side
'use strict';
const readline = require('node:readline');
const url = require('node:url');
const { RpcClient } = require('sofa-rpc-node').client;
const bolt = require('sofa-bolt-node');
const { logger, proto, protocolFor, say } = require('./sofa');

const clients = new Map();
let closed = 0;

function clientOf(command) {
  const key = [command.port, command.codec, command.version].join();
  if (!clients.has(key)) {
    const client = new RpcClient({
      logger,
      connectionOpts: { protocol: protocolFor(command.version || 'v1'), proto, noDelay: true, connectTimeout: 3000 },
    });
    client.on('error', error => logger.error(error));
    clients.set(key, client);
  }
  return clients.get(key);
}

async function consumerOf(command) {
  const codec = command.codec || 'hessian2';
  const consumer = clientOf(command).createConsumer({
    interfaceName: command.service || 'dragoman.interop.HelloService',
    version: '1.0',
    targetAppName: 'interop',
    serverHost: `127.0.0.1:${command.port}?serialization=${codec}`,
  });
  await consumer.ready();
  return consumer;
}

const bolts = new Map();

async function boltOf(port) {
  if (!bolts.has(port)) {
    const client = new bolt.RpcClient({ logger, address: url.parse(`bolt://127.0.0.1:${port}`, true) });
    client.on('error', error => logger.error(error));
    client.on('close', () => { closed++; });
    await client.ready();
    bolts.set(port, client);
  }
  return bolts.get(port);
}

const operations = {
  async invoke(command) {
    const consumer = await consumerOf(command);
    const options = { responseTimeout: command.timeout_ms || 5000, requestProps: command.props };
    return { value: await consumer.invoke(command.method, command.args || [], options) };
  },

  async one_way(command) {
    const client = await boltOf(command.port);
    client.oneway({
      serverSignature: `${command.service || 'dragoman.interop.HelloService'}:1.0`,
      methodName: command.method,
      args: command.args || [],
      timeout: 3000,
      targetAppName: 'interop',
    });
    return {};
  },

  async heartbeat(command) {
    await consumerOf(command);
    const client = clientOf(command);
    const [connection] = await Promise.all(client.connectionManager.connections.values());
    connection.once('close', () => { closed++; });
    const reply = new Promise(resolve => connection._decoder.once('heartbeat_ack', resolve));
    connection.options.maxIdleTime = -1; // as if it had been idle for its 30 seconds
    connection.heartbeat();
    const timer = new Promise(resolve => setTimeout(resolve, 5000, null));
    return { value: Boolean(await Promise.race([reply, timer])), open: connection.isOk };
  },

  async closed() {
    return { value: closed };
  },
};

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const command = JSON.parse(line);
  try {
    say({ answer: command.id, ...await operations[command.operation](command) });
  } catch (error) {
    say({ answer: command.id, error: error.name, message: error.message });
  }
});
say({ ready: true });

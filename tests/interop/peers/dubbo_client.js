// Dubbo clients that take commands: apache-dubbo-js ("apache") and dubbo-remoting under sofa-rpc-node ("remoting").
// invoke(client, port, method, text, timeout), load(client, port, calls, depth), heartbeat(port).
'use strict';
const readline = require('node:readline');
const net = require('node:net');
const { RpcClient } = require('sofa-rpc-node').client;
const remoting = require('dubbo-remoting');

const quiet = () => {};
const log = console.log;
console.log = quiet;  // apache-dubbo-js talks
const { DirectlyDubbo, java } = require('apache-dubbo-js');
const logger = { debug: quiet, info: quiet, log: quiet, warn: quiet, error: quiet };
const say = object => log(JSON.stringify(object));
const interfaceName = 'dragoman.interop.HelloService';
const clients = new Map();

function text(value) { return [java.String(value)]; }

async function apache(port) {
  const dubbo = DirectlyDubbo.from({ dubboAddress: `127.0.0.1:${port}`, dubboVersion: '2.0.2', dubboInvokeTimeout: 20 });
  const service = dubbo.proxyService({
    dubboInterface: interfaceName, version: '1.0.0', timeout: 20000,
    methods: { echo: text, wait: text, boom() {}, connections() {}, nosuch() {} },
  });
  return async (method, argument) => {
    const answer = await service[method](...(argument === undefined ? [] : [argument]));
    if (answer.err) throw answer.err;
    return answer.res;
  };
}

async function remote(port) {
  const client = new RpcClient({ logger, protocol: Object.assign({ name: 'dubbo' }, remoting) });
  const consumer = client.createConsumer({
    interfaceName, version: '1.0.0', group: '', targetAppName: 'interop', serverHost: `127.0.0.1:${port}`,
  });
  await consumer.ready();
  return (method, argument) => consumer.invoke(method, argument === undefined ? [] : [argument], { responseTimeout: 20000 });
}

async function caller(kind, port) {
  const key = `${kind}:${port}`;
  if (!clients.has(key)) clients.set(key, await (kind === 'apache' ? apache(port) : remote(port)));
  return clients.get(key);
}

const operations = {
  async invoke({ client, port, method, text: argument }) {
    const call = await caller(client, port);
    return { value: await call(method, argument) };
  },
  async load({ client, port, calls, depth }) {
    const call = await caller(client, port);
    let next = 0, wrong = 0, errors = {};
    const work = async () => {
      while (next < calls) {
        const token = `${process.pid}-${next++}-${'x'.repeat(next % 300)}`;
        try {
          if (await call('echo', token) !== token) wrong++;
        } catch (e) {
          errors[e.message] = (errors[e.message] || 0) + 1;
        }
      }
    };
    await Promise.all(Array.from({ length: depth }, work));
    return { value: { calls, wrong, errors } };
  },
  // A heartbeat as Java sends it; its answer in hex.
  heartbeat: ({ port }) => new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', reject);
    socket.on('data', data => { socket.destroy(); resolve({ value: data.toString('hex') }); });
    socket.write(Buffer.from('dabbe200000000000000000a000000014e', 'hex'));
  }),
};

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const command = JSON.parse(line);
  try {
    say({ answer: command.id, ...await operations[command.operation](command) });
  } catch (e) {
    say({ answer: command.id, error: e.name, message: String(e.message).slice(0, 300) });
  }
});
say({ ready: true });

// Thrift for Node, both ends. Configuration: generated (folder of the generated code), transport (framed, buffered), protocol
// (binary, compact), serve (a port: serve there) or port (a port: call it). A client takes commands: call(method, text),
// load(calls, depth).
'use strict';
const path = require('node:path');
const readline = require('node:readline');
const Module = require('node:module');
const config = JSON.parse(process.argv[2] || '{}');
// The generated code asks for `thrift` from its own folder.
process.env.NODE_PATH = path.join(__dirname, 'node_modules');
Module._initPaths();
const thrift = require('thrift');
const Echo = require(path.join(config.generated, 'Echo'));
const types = require(path.join(config.generated, 'echo_types'));

const say = object => console.log(JSON.stringify(object));
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
const options = {
  transport: config.transport === 'framed' ? thrift.TFramedTransport : thrift.TBufferedTransport,
  protocol: config.protocol === 'compact' ? thrift.TCompactProtocol : thrift.TBinaryProtocol,
};

if (config.serve) {
  let calls = 0;
  const noted = [];
  const server = thrift.createServer(Echo, {
    // Some answers take a while, so that they overtake each other.
    async echo(text, result) {
      if (++calls % 20 === 0) await sleep(1 + calls % 7);
      result(null, text);
    },
    fail(result) { result(new types.Failed({ why: 'because' })); },
    broken(result) { result(new Error('broken')); },
    note(text) { noted.push(text); },
    noted(result) { result(null, noted); },
  }, options);
  server.listen(config.serve, '127.0.0.1', () => say({ port: config.serve }));
} else {
  const connection = thrift.createConnection('127.0.0.1', config.port, options);
  connection.on('error', () => {});
  const client = thrift.createClient(Echo, connection);
  const call = (method, ...args) => new Promise((resolve, reject) => {
    client[method](...args, (error, value) => (error ? reject(error) : resolve(value)));
  });
  const operations = {
    async call({ method, text }) {
      if (method === 'note') {
        client.note(text);
        return { value: null };
      }
      return { value: await call(method, ...(text === undefined ? [] : [text])) };
    },
    async load({ calls, depth }) {
      let next = 0, wrong = 0;
      const work = async () => {
        while (next < calls) {
          const token = `${process.pid}-${next++}-${'x'.repeat(next % 300)}`;
          if (await call('echo', token) !== token) wrong++;
        }
      };
      await Promise.all(Array.from({ length: depth }, work));
      return { value: { calls, wrong } };
    },
  };
  readline.createInterface({ input: process.stdin }).on('line', async line => {
    const command = JSON.parse(line);
    try {
      say({ answer: command.id, ...await operations[command.operation](command) });
    } catch (e) {
      say({ answer: command.id, error: e.name, type: e.type, message: String(e.why || e.message) });
    }
  });
  connection.on('connect', () => say({ ready: true }));
}

// A Tars client (@tars/rpc) of tars_server.js. Takes commands as the other clients do, each with the port to call:
//   call (servant, name, arguments: texts and numbers, context, one_way): number and text of the answer, or the error's code and message
//   load (calls, depth): echoes at once, each answer checked
'use strict';
const readline = require('node:readline');
const stream = require('@tars/stream');
const tars = require('@tars/rpc');

const say = object => console.log(JSON.stringify(object));

function Proxy() {
  this._name = undefined;
  this._worker = undefined;
}
Proxy.prototype.call = function (name, values, property) {
  const out = new stream.TarsOutputStream();
  values.forEach((value, i) => {
    if (typeof value === 'number') out.writeInt32(i + 1, value);
    else out.writeString(i + 1, value);
  });
  return this._worker.tars_invoke(name, out.getBinBuffer(), property).then(
    data => {
      const input = new stream.TarsInputStream(data.response.sBuffer);
      return { number: input.readInt32(0, false, 0), text: input.readString(2, false, '') };
    },
    data => ({ code: data.error.code, message: data.error.message }));
};

const proxies = new Map();
function proxy(port, servant = 'Test.Echo.EchoObj') {
  const name = `${servant}@tcp -h 127.0.0.1 -p ${port} -t 60000`;
  if (!proxies.has(name)) {
    proxies.set(name, tars.client.stringToProxy(Proxy, name));
    proxies.get(name)._worker.timeout = 20000;
  }
  return proxies.get(name);
}

const operations = {
  async call({ port, servant, name, arguments: values = [], context = {}, one_way = false }) {
    return { value: await proxy(port, servant).call(name, values, { context, packetType: one_way ? 1 : 0 }) };
  },

  async load({ port, calls, depth }) {
    let next = 0, wrong = 0;
    const errors = {};
    await Promise.all(Array.from({ length: depth }, async () => {
      while (next < calls) {
        const text = `text ${next++} ${'x'.repeat(next % 300)}`;
        const answer = await proxy(port).call('echo', [text]);
        if (answer.code !== undefined) errors[answer.code] = (errors[answer.code] || 0) + 1;
        else if (answer.text !== text) wrong++;
      }
    }));
    return { value: { calls: next, wrong, errors } };
  },
};

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const command = JSON.parse(line);
  try {
    say({ answer: command.id, ...await operations[command.operation](command) });
  } catch (error) {
    say({ answer: command.id, error: error.stack || JSON.stringify(error) });
  }
});
say({ ready: true });

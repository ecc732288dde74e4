// gRPC-Web's own client, as it runs in a browser, over an XMLHttpRequest for Node. Messages are bytes.
'use strict';
global.XMLHttpRequest = require('xhr2').XMLHttpRequest;
const web = require('grpc-web');

const config = JSON.parse(process.argv[2]);
const host = `http://127.0.0.1:${config.port}`;
const say = (call, what) => console.log(JSON.stringify({ call, ...what }));
const same = (bytes) => bytes;
const text = (bytes) => Buffer.from(bytes).toString();
const method = (name, type) => new web.MethodDescriptor(name, type, Uint8Array, Uint8Array, same, same);

function unary(client, name, message, metadata = {}) {
  return new Promise((resolve, reject) => {
    let status;
    const call = client.rpcCall(host + name, Uint8Array.from(message), metadata, method(name, 'unary'), (error, answer) => {
      if (error) reject(error);
      else setImmediate(() => resolve({ answer, status }));
    });
    call.on('status', (s) => { status = s; });
  });
}

function stream(client, name, message, metadata = {}) {
  return new Promise((resolve, reject) => {
    const got = [];
    const call = client.serverStreaming(host + name, Uint8Array.from(message), metadata, method(name, 'server_streaming'));
    call.on('data', (piece) => got.push(text(piece)));
    call.on('error', reject);
    call.on('end', () => resolve(got));
  });
}

async function error(call, run) {
  try {
    await run();
    say(call, { code: 0 });
  } catch (e) {
    say(call, { code: e.code, details: e.message });
  }
}

(async () => {
  const client = new web.GrpcWebClientBase({ format: config.format });
  const { answer, status } = await unary(client, '/acme.Test/Echo', Buffer.from('question'), { 'mine-bin': 'AAEC/w==' });
  say('unary', { got: text(answer), code: status && status.code, seen: status && status.metadata['seen-bin'] });
  await error('fail', () => unary(client, '/acme.Test/Fail', [5]));
  await error('unknown', () => unary(client, '/acme.Unknown/Say', []));
  if (config.format === 'text') { // binary answers can't be read before they end
    say('stream', { got: await stream(client, '/acme.Test/Count', [5]) });
    await error('late', () => stream(client, '/acme.Test/Drip', [], { 'grpc-timeout': '700m' }));
  }
  say('done', {});
})();

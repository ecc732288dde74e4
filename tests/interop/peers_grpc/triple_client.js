// Calls of triple_server.js on the port given; prints what came of each as {"call": name, ...}. Configuration: face ("triple",
// "grpc" or "grpc-web"), http ("1.1" or "2"), json, group, version.
'use strict';
const { Code, createPromiseClient } = require('@apachedubbo/dubbo');
const { createDubboTransport, createGrpcTransport, createGrpcWebTransport } = require('@apachedubbo/dubbo-node');
const { Hello, say } = require('./triple');

const config = JSON.parse(process.argv[2]);
const transports = { triple: createDubboTransport, grpc: createGrpcTransport, 'grpc-web': createGrpcWebTransport };
const transport = transports[config.face]({
  baseUrl: `http://127.0.0.1:${config.port}`, httpVersion: config.http, useBinaryFormat: !config.json,
});
const client = createPromiseClient(Hello, transport, { serviceGroup: config.group, serviceVersion: config.version });
// These fields are only sent with single messages of the HTTP face.
const headers = {};
if (config.group) headers['tri-service-group'] = config.group;
if (config.version) headers['tri-service-version'] = config.version;

async function* each(texts) {
  for (const text of texts) yield { text };
}

async function collect(stream) {
  const got = [];
  for await (const answer of stream) got.push(answer.text);
  return got;
}

async function error(call, run) {
  const start = Date.now();
  try {
    await run();
    say({ call, code: 'OK' });
  } catch (e) {
    say({ call, code: Code[e.code], details: e.rawMessage, seconds: (Date.now() - start) / 1000 });
  }
}

(async () => {
  let trailers;
  const options = { headers: { ...headers, 'mine-bin': 'AAEC/w' }, timeoutMs: 30000, onTrailer: (t) => { trailers = t; } };
  const unary = await client.say({ text: 'hello' }, options);
  say({ call: 'unary', text: unary.text, binary: trailers.get('seen-bin'), protocol: trailers.get('seen-protocol') });
  const data = new Uint8Array((config.json ? 1 : 4) << 20).map((_, i) => i * 7);
  const big = await client.say({ data }, { headers, timeoutMs: 60000 });
  say({ call: 'big', same: Buffer.compare(Buffer.from(big.data), Buffer.from(data)) === 0 });
  say({ call: 'server_stream', got: await collect(client.count({ text: '5' }, { headers })) });
  const begun = [];
  await error('cut', async () => {
    for await (const answer of client.count({ text: '2+' }, { headers })) begun.push(answer.text);
  });
  say({ call: 'begun', got: begun });
  if (config.http === '2') {
    say({ call: 'client_stream', got: (await client.join(each(['a', 'b', 'c']), { headers })).text });
    say({ call: 'chat', got: await collect(client.chat(each(['0', '1', '2']), { headers })) });
  }
  await error('fail', () => client.fail({ text: 'NotFound' }, { headers }));
  await error('deadline', () => client.never({}, { headers, timeoutMs: 500 }));
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 300);
  await error('cancel', () => client.never({}, { headers, signal: abort.signal }));
  const unknown = createPromiseClient({ ...Hello, typeName: 'acme.Unknown' }, transport);
  await error('unknown', () => unknown.say({}, {}));
  say({ call: 'done' });
  process.exit(0);
})();

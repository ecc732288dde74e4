// What grpc_client.py does, with grpc-js: the same calls, the same words about what came of them.
'use strict';
const grpc = require('@grpc/grpc-js');

const config = JSON.parse(process.argv[2]);
const same = (bytes) => bytes;
const shape = (name, requestStream, responseStream) => ({
  path: `/acme.Test/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const Client = grpc.makeGenericClientConstructor({
  Echo: shape('Echo', false, false), Fail: shape('Fail', false, false), Never: shape('Never', false, false),
  Drip: shape('Drip', false, true), Count: shape('Count', false, true), Join: shape('Join', true, false),
  Chat: shape('Chat', true, true), Unknown: { ...shape('Say', false, false), path: '/acme.Unknown/Say' },
}, 'acme.Test');
const client = new Client(`127.0.0.1:${config.port}`, grpc.credentials.createInsecure(), {
  'grpc.max_receive_message_length': 16 << 20, 'grpc.enable_retries': 0,
});
const say = (call, what) => console.log(JSON.stringify({ call, ...what }));
const within = (seconds) => ({ deadline: Date.now() + seconds * 1000 });

function unary(method, message, seconds, metadata = new grpc.Metadata()) {
  return new Promise((resolve, reject) => {
    let trailers;
    const call = client[method](message, metadata, within(seconds), (error, answer) => {
      if (error) return reject(error);
      return setImmediate(() => resolve({ answer, trailers }));
    });
    call.on('status', (status) => { trailers = status.metadata; });
  });
}

async function error(call, run) {
  const start = Date.now();
  try {
    await run();
    say(call, { code: 'OK' });
  } catch (e) {
    say(call, { code: grpc.status[e.code], details: e.details, seconds: (Date.now() - start) / 1000 });
  }
}

async function collect(stream) {
  const got = [];
  for await (const message of stream) got.push(message.toString());
  return got;
}

async function kinds() {
  const raw = Buffer.from([0, 1, 2, 255]);
  const metadata = new grpc.Metadata();
  metadata.set('mine-bin', raw);
  const { answer, trailers } = await unary('Echo', Buffer.from('text'), 30, metadata);
  say('unary', { same: answer.toString() === 'text', binary: raw.equals(trailers.get('seen-bin')[0]),
    left: Number(trailers.get('seen-left')[0]) });
  const big = Buffer.alloc(4 << 20, 'abc');
  say('big', { same: big.equals((await unary('Echo', big, 60)).answer) });
  say('server_stream', { got: await collect(client.Count(Buffer.from([5]), within(30))) });
  say('client_stream', { got: await new Promise((resolve, reject) => {
    const call = client.Join(within(30), (e, joined) => (e ? reject(e) : resolve(joined.toString())));
    for (const part of ['a', 'b', 'c']) call.write(Buffer.from(part));
    call.end();
  }) });
  const chat = client.Chat(within(30));
  const got = [];
  chat.write(Buffer.from('0'));
  for await (const message of chat) { // each question after the answer to the one before
    got.push(message.toString());
    if (got.length < 3) chat.write(Buffer.from(String(got.length)));
    else chat.end();
  }
  say('chat', { got });
}

async function errors() {
  await error('fail', () => unary('Fail', Buffer.from([5]), 30));
  await error('unimplemented', () => unary('Unknown', Buffer.alloc(0), 30));
  await error('deadline', () => unary('Never', Buffer.alloc(0), 0.5));
  await error('drip', () => collect(client.Drip(Buffer.alloc(0), within(0.7))));
  await error('cancel', () => new Promise((resolve, reject) => {
    const call = client.Never(Buffer.alloc(0), within(30), (e) => (e ? reject(e) : resolve()));
    setTimeout(() => call.cancel(), 300);
  }));
}

({ kinds, errors })[config.run]().then(() => client.close());

// What grpc_load.py does, with grpc-js.
'use strict';
const grpc = require('@grpc/grpc-js');

const config = JSON.parse(process.argv[2]);
const begin = Date.now();
const counts = {};
const errors = {};
const same = (bytes) => bytes;
const shape = (name, requestStream, responseStream) => ({
  path: `/acme.Test/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const Client = grpc.makeGenericClientConstructor({
  Echo: shape('Echo', false, false), Count: shape('Count', false, true), Join: shape('Join', true, false), Chat: shape('Chat', true, true),
}, 'acme.Test');
const within = () => ({ deadline: Date.now() + 60000 });

function enough(channel) {
  const past = (Date.now() - begin) / 1000;
  return past > 100 || (past > config.seconds && (counts[channel] || 0) >= config.calls);
}

function check(right, what) {
  if (!right) throw new Error(what);
}

const kinds = {
  async unary(client) {
    const sent = Buffer.alloc(100, 'x');
    const got = await new Promise((resolve, reject) => {
      client.Echo(sent, new grpc.Metadata(), within(), (error, answer) => (error ? reject(error) : resolve(answer)));
    });
    check(sent.equals(got), 'echo');
  },
  async count(client) {
    let got = 0;
    for await (const message of client.Count(Buffer.from([200]), within())) check(message.toString() === String(got++), 'count');
    check(got === 200, 'count');
  },
  async join(client) {
    const got = await new Promise((resolve, reject) => {
      const call = client.Join(within(), (error, answer) => (error ? reject(error) : resolve(answer)));
      for (let i = 0; i < 50; i++) call.write(Buffer.alloc(2000, 'x'));
      call.end();
    });
    check(got.length === 50 * 2001 - 1, 'join');
  },
  async chat(client) {
    const call = client.Chat(within());
    let got = 0;
    call.write(Buffer.from('0'));
    for await (const message of call) { // each question after the answer to the one before
      check(message.toString() === `re: ${got}`, 'chat');
      if (++got < 20) call.write(Buffer.from(String(got)));
      else call.end();
    }
    check(got === 20, 'chat');
  },
};

async function work(channel, client, kind) {
  while (!enough(channel)) {
    try {
      await kinds[kind](client);
    } catch (e) {
      const said = `${kind}: ${grpc.status[e.code] || ''} ${e.details || e.message}`;
      errors[said] = (errors[said] || 0) + 1;
    }
    counts[channel] = (counts[channel] || 0) + 1;
  }
}

(async () => {
  const running = [];
  for (const [channel, run] of [['one', ['unary']], ['all', ['unary', 'count', 'join', 'chat']]]) {
    const client = new Client(`127.0.0.1:${config.port}`, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    for (const kind of run) running.push(work(channel, client, kind));
  }
  await Promise.all(running);
  console.log(JSON.stringify({ load: { calls: counts, errors, seconds: (Date.now() - begin) / 1000 } }));
  process.exit(0);
})();

// Redis clients (ioredis) that check every answer. Configuration: port. Takes commands as the other clients do:
//   basics, pipeline (`count` commands), transaction, pubsub (`count` messages), large (`size` bytes), many (`connections`, `count`)
//   set, get: one key, over a connection that is kept and comes back by itself; state: how often it had to
'use strict';
const assert = require('node:assert');
const crypto = require('node:crypto');
const readline = require('node:readline');
const Redis = require('ioredis');

const { port } = JSON.parse(process.argv[2]);
const say = object => console.log(JSON.stringify(object));

function connect() {
  const redis = new Redis({ port, host: '127.0.0.1', retryStrategy: () => 50, maxRetriesPerRequest: 200 });
  redis.on('error', () => {});
  return redis;
}

const kept = connect();
let ready = 0;
kept.on('ready', () => { ready++; });

const operations = {
  async basics() {
    const redis = connect();
    assert.equal(await redis.set('a', 'ä\r\nb'), 'OK');
    assert.equal(await redis.get('a'), 'ä\r\nb');
    assert.equal(await redis.get('none'), null);
    assert.equal(await redis.incrby('n', 5), 5);
    assert.deepEqual(await redis.mget('a', 'none', 'n'), ['ä\r\nb', null, '5']);
    await assert.rejects(redis.incr('a'), /not an integer/);
    assert.equal(await redis.eval('return ARGV[1]', 0, 'lua'), 'lua');
    const waiting = connect();
    const popped = waiting.blpop('list', 10);
    await redis.rpush('list', 'item');
    assert.deepEqual(await popped, ['list', 'item']);
    await waiting.quit();
    await redis.quit();
    return {};
  },

  async pipeline({ count }) {
    const redis = connect();
    const pipeline = redis.pipeline();
    for (let i = 0; i < count; i++) pipeline.set(`p${i}`, `v${i}`).get(`p${i}`);
    const answers = await pipeline.exec();
    assert.equal(answers.length, 2 * count);
    for (let i = 0; i < count; i++) assert.deepEqual(answers[2 * i + 1], [null, `v${i}`]);
    await redis.quit();
    return { answers: answers.length };
  },

  async transaction() {
    const redis = connect();
    await redis.watch('t');
    assert.deepEqual(await redis.multi().set('t', '1').incr('t').exec(), [[null, 'OK'], [null, 2]]);
    await redis.quit();
    return {};
  },

  async pubsub({ count }) {
    const [subscriber, publisher] = [connect(), connect()];
    await subscriber.subscribe('news');
    await subscriber.psubscribe('n?ws');
    let got = 0;
    const all = new Promise(resolve => {
      const one = () => { if (++got === 2 * count) resolve(); };
      subscriber.on('message', (channel, text) => { assert.equal(channel, 'news'); assert.match(text, /^item \d+$/); one(); });
      subscriber.on('pmessage', (pattern) => { assert.equal(pattern, 'n?ws'); one(); });
    });
    for (let i = 0; i < count; i++) assert.equal(await publisher.publish('news', `item ${i}`), 2);
    await all;
    await subscriber.quit();
    await publisher.quit();
    return { got };
  },

  async large({ size }) {
    const redis = connect();
    const value = crypto.randomBytes(size);
    assert.equal(await redis.set('large', value), 'OK');
    assert.equal(Buffer.compare(await redis.getBuffer('large'), value), 0);
    await redis.quit();
    return {};
  },

  async many({ connections, count }) {
    const all = Array.from({ length: connections }, connect);
    await Promise.all(all.map(async (redis, i) => {
      for (let n = 0; n < count; n++) {
        assert.equal(await redis.set(`m${i}`, `${i}/${n}`), 'OK');
        assert.equal(await redis.get(`m${i}`), `${i}/${n}`);
      }
      await redis.quit();
    }));
    return {};
  },

  async set({ key, value }) { return { value: await kept.set(key, value) }; },
  async get({ key }) { return { value: await kept.get(key) }; },
  async state() { return { ready }; },
};

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const command = JSON.parse(line);
  try {
    say({ answer: command.id, ...await operations[command.operation](command) });
  } catch (error) {
    say({ answer: command.id, error: error.message });
  }
});
kept.once('ready', () => say({ ready: true }));

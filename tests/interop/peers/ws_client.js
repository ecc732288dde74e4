// A WebSocket client (ws) that does what it is told on standard input, one JSON object a line, and answers with {"answer": id, ...}.
//   talk:  opens a connection to port/path, sends each of `send` and waits for one message after each, then closes with `code`;
//          tells the messages and how it was closed
//   echo:  sends messages of the given sizes, text and binary in turn, and checks that they come back
//   many:  `connections` at once, each echoing `messages` messages of up to `size` bytes
//   ping:  pings and waits for the pong
//   push:  has the server send `count` messages of `size` bytes while it does not read for a moment
'use strict';
const crypto = require('node:crypto');
const readline = require('node:readline');
const { once } = require('node:events');
const WebSocket = require('ws');

const say = object => console.log(JSON.stringify(object));

async function open(command) {
  const ws = new WebSocket(`ws://127.0.0.1:${command.port}${command.path || '/echo'}`, command.protocols || [], {
    perMessageDeflate: Boolean(command.deflate),
    maxPayload: 64 << 20,
  });
  ws.closed = new Promise(resolve => {
    ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  await once(ws, 'open');
  ws.on('error', () => {});
  return ws;
}

async function echo(ws, size, binary) {
  const sent = binary ? crypto.randomBytes(size) : crypto.randomBytes(Math.ceil(size / 2)).toString('hex').slice(0, size);
  ws.send(sent);
  const [got, isBinary] = await once(ws, 'message');
  if (isBinary !== binary || Buffer.compare(got, Buffer.from(sent)) !== 0) throw new Error(`${size} bytes came back changed`);
}

const operations = {
  async talk(command) {
    const ws = await open(command);
    const messages = [];
    for (const text of command.send || []) {
      ws.send(text);
      const got = await Promise.race([once(ws, 'message'), ws.closed]);
      if (!Array.isArray(got)) break;
      messages.push(got[0].toString());
    }
    if (command.code) ws.close(command.code, command.reason);
    return { messages, ...await ws.closed, protocol: ws.protocol, extensions: ws.extensions };
  },

  async echo(command) {
    const ws = await open(command);
    for (const size of command.sizes) for (const binary of [false, true]) await echo(ws, size, binary);
    ws.close(1000);
    return ws.closed;
  },

  async many(command) {
    const sockets = await Promise.all(Array.from({ length: command.connections }, () => open(command)));
    await Promise.all(sockets.map(async (ws, i) => {
      for (let n = 0; n < command.messages; n++) await echo(ws, (i * 7919 + n * 104729) % command.size, n % 2 === 0);
    }));
    for (const ws of sockets) ws.close(1000);
    const codes = await Promise.all(sockets.map(ws => ws.closed));
    return { codes: [...new Set(codes.map(c => c.code))] };
  },

  async ping(command) {
    const ws = await open(command);
    ws.ping('here');
    const [data] = await once(ws, 'pong');
    ws.send('ping'); // ws answers the server's ping itself
    const [text] = await once(ws, 'message');
    ws.close(1000);
    await ws.closed;
    return { pong: data.toString(), text: text.toString() };
  },

  async push(command) {
    const ws = await open(command);
    let bytes = 0;
    let count = 0;
    const all = new Promise(resolve => {
      ws.on('message', data => { bytes += data.length; if (++count === command.count) resolve(); });
    });
    ws.send(`push ${command.count} ${command.size}`);
    ws.pause();
    setTimeout(() => ws.resume(), 500);
    await all;
    ws.close(1000);
    await ws.closed;
    return { bytes, count };
  },
};

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const command = JSON.parse(line);
  try {
    say({ answer: command.id, ...await operations[command.operation](command) });
  } catch (error) {
    say({ answer: command.id, error: error.message });
  }
});
say({ ready: true });

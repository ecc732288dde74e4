// What grpc_server.py serves, with grpc-js: messages are bytes. Prints {"port": N}; ends when its input does.
'use strict';
const grpc = require('@grpc/grpc-js');

const say = (what) => console.log(JSON.stringify(what));
const same = (bytes) => bytes;
const shape = (name, requestStream, responseStream) => ({
  path: `/acme.Test/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});

function echo(call, done) {
  const trailers = new grpc.Metadata();
  trailers.set('seen-bin', call.metadata.get('mine-bin')[0] || Buffer.alloc(0));
  const deadline = call.getDeadline();
  trailers.set('seen-left', String(deadline === Infinity ? -1 : (deadline - Date.now()) / 1000));
  done(null, call.request, trailers);
}

function fail(call, done) {
  done({ code: call.request[0], details: '50% schön' });
}

function never(call) {
  call.on('cancelled', () => say({ cancelled: true }));
}

function drip(call) {
  // A stream that moves all the time and never ends.
  const timer = setInterval(() => call.write(Buffer.from('drop')), 50);
  call.on('cancelled', () => clearInterval(timer));
}

function count(call) {
  for (let i = 0; i < call.request[0]; ++i) call.write(Buffer.from(String(i)));
  call.end();
}

function join(call, done) {
  const parts = [];
  call.on('data', (part) => parts.push(part.toString()));
  call.on('end', () => done(null, Buffer.from(parts.join(','))));
}

function chat(call) {
  call.on('data', (question) => call.write(Buffer.concat([Buffer.from('re: '), question])));
  call.on('end', () => call.end());
}

const server = new grpc.Server({ 'grpc.max_receive_message_length': 16 << 20 });
server.addService({
  Echo: shape('Echo', false, false), Fail: shape('Fail', false, false), Never: shape('Never', false, false),
  Drip: shape('Drip', false, true), Count: shape('Count', false, true), Join: shape('Join', true, false),
  Chat: shape('Chat', true, true),
}, { Echo: echo, Fail: fail, Never: never, Drip: drip, Count: count, Join: join, Chat: chat });
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  say({ port });
});
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();

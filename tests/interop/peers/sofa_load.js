// SOFARPC clients (sofa-rpc-node) that call as fast as they can and check that each answer belongs to its call. Configuration: port,
// connections, calls (of each connection), depth, kinds ([codec, version] in turn for the connections), pace_ms, retry_closed.
// Prints {"started": true} when all connections are there, {"done": {...}} at the end.
'use strict';
const crypto = require('node:crypto');
const { RpcClient } = require('sofa-rpc-node').client;
const { config, logger, proto, protocolFor, say, sleep } = require('./sofa');

const padding = crypto.randomBytes(4096).toString('base64');
const result = { calls: 0, wrong: 0, failed: 0, retried: 0, errors: {} };
let stopping = false;
process.on('SIGTERM', () => { stopping = true; });

function sized(sequence) {
  if (sequence % 500 === 499) return padding.repeat(10); // more than one read
  return padding.slice(0, (sequence * 37) % 300);
}

async function connect(index) {
  const [codec, version] = config.kinds[index % config.kinds.length];
  const client = new RpcClient({
    logger,
    connectionOpts: { protocol: protocolFor(version), proto, noDelay: true, connectTimeout: 5000 },
  });
  client.on('error', error => logger.error(error));
  const consumer = client.createConsumer({
    interfaceName: `dragoman.interop.${codec === 'protobuf' ? 'ProtoService' : 'HelloService'}`,
    version: '1.0',
    targetAppName: 'interop',
    serverHost: `127.0.0.1:${config.port}?serialization=${codec}`,
  });
  await consumer.ready();
  return { client, consumer, codec, index, next: 0 };
}

async function call(peer, sequence) {
  const token = `${process.pid}/${peer.index}/${sequence}/${sized(sequence)}`;
  const options = { responseTimeout: config.timeout_ms || 20000 };
  if (peer.codec === 'protobuf') {
    const answer = await peer.consumer.invoke('echo', [{ token, number: sequence }], options);
    return answer.token === token && answer.number === sequence;
  }
  return await peer.consumer.invoke('echo', [token], options) === token;
}

async function lane(peer) {
  while (!stopping && peer.next < config.calls) {
    const sequence = peer.next++;
    for (let attempt = 0; ; attempt++) {
      try {
        if (!await call(peer, sequence)) result.wrong++;
        result.calls++;
      } catch (error) {
        // What a well-behaved client does when a connection ends under it: the call goes out again on a new one.
        const closed = ['RpcSocketCloseError', 'RpcNoProviderError', 'RpcRequestEncodeError'].includes(error.name);
        if (config.retry_closed && closed && attempt < 20) {
          result.retried++;
          await sleep(25);
          continue;
        }
        result.failed++;
        const text = `${error.name}: ${error.message}`.replace(/\d+/g, 'N').slice(0, 200);
        result.errors[text] = (result.errors[text] || 0) + 1;
      }
      break;
    }
    if (config.pace_ms) await sleep(config.pace_ms);
  }
}

async function main() {
  const peers = [];
  for (let i = 0; i < config.connections; i++) peers.push(await connect(i));
  say({ started: true });
  const begin = Date.now();
  const lanes = [];
  for (const peer of peers) for (let i = 0; i < config.depth; i++) lanes.push(lane(peer));
  await Promise.all(lanes);
  result.seconds = (Date.now() - begin) / 1000;
  result.cpu_seconds = process.cpuUsage().user / 1e6;
  say({ done: result });
  process.exit(0);
}

main();

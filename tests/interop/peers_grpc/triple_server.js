// acme.Hello with dubbo-node, in a group and version if given, over HTTP/1 or HTTP/2 without TLS. Prints {"port": N}.
'use strict';
const http = require('http');
const http2 = require('http2');
const { Code, DubboError } = require('@apachedubbo/dubbo');
const { dubboNodeAdapter } = require('@apachedubbo/dubbo-node');
const { Hello, say } = require('./triple');

const config = JSON.parse(process.argv[2]);

const implementation = {
  say(request, context) {
    context.responseTrailer.set('seen-bin', context.requestHeader.get('mine-bin') || '');
    context.responseTrailer.set('seen-protocol', context.protocolName);
    return { text: `${config.name}: ${request.text}`, data: request.data };
  },
  fail(request) { throw new DubboError('50% schön', Code[request.text]); },
  never(_request, context) {
    context.signal.addEventListener('abort', () => say({ cancelled: true }));
    return new Promise(() => {});
  },
  async* count(request) {
    for (let i = 0; i < parseInt(request.text, 10); ++i) yield { text: String(i) };
    if (request.text.endsWith('+')) await new Promise(() => {});  // and more that never comes
  },
  async join(requests) {
    const parts = [];
    for await (const request of requests) parts.push(request.text);
    return { text: parts.join(',') };
  },
  async* chat(requests) {
    for await (const request of requests) yield { text: `re: ${request.text}` };
  },
};

const routes = (router) => router.service(Hello, implementation,
  { serviceGroup: config.group, serviceVersion: config.version });
const handler = dubboNodeAdapter({ routes });
const server = config.http === '2' ? http2.createServer(handler) : http.createServer(handler);
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();

// What the SOFARPC client and server share.
'use strict';
const path = require('node:path');
const antpb = require('antpb');
const bolt = require('sofa-bolt-node');

exports.config = JSON.parse(process.argv[2] || '{}');

exports.say = object => console.log(JSON.stringify(object));

exports.sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

const quiet = () => {};
const loud = (...args) => console.log(...args);
exports.logger = { debug: quiet, info: quiet, log: quiet, warn: quiet, error: exports.config.verbose ? loud : quiet };

const proto = antpb.loadAll(path.join(__dirname));
bolt.setOptions({ proto });
exports.proto = proto;

// The ways of writing a frame: version 1, version 2 as version 1 had it, version 2 with a checksum.
const versions = {
  v1: {},
  v2: { protocolType: 'bolt2', boltVersion: 1, crcEnable: false },
  'v2-crc': { protocolType: 'bolt2', boltVersion: 2, crcEnable: true },
};

// The protocol object of a connection that writes frames of one version. It reads all of them.
exports.protocolFor = version => ({
  ...bolt,
  name: 'bolt',
  encoder: options => Object.assign(bolt.encoder(options), versions[version]),
});

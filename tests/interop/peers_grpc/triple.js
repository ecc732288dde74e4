// The service that triple_server.js serves and triple_client.js calls, as generated code would describe it.
'use strict';
const { MethodKind, proto3 } = require('@bufbuild/protobuf');

const Text = proto3.makeMessageType('acme.Text', () => [
  { no: 1, name: 'text', kind: 'scalar', T: 9 },
  { no: 2, name: 'data', kind: 'scalar', T: 12 },
]);
const method = (name, kind) => ({ name, I: Text, O: Text, kind });

exports.Text = Text;
exports.Hello = {
  typeName: 'acme.Hello',
  methods: {
    say: method('Say', MethodKind.Unary),
    fail: method('Fail', MethodKind.Unary),
    never: method('Never', MethodKind.Unary),
    count: method('Count', MethodKind.ServerStreaming),
    join: method('Join', MethodKind.ClientStreaming),
    chat: method('Chat', MethodKind.BiDiStreaming),
  },
};
exports.say = (what) => console.log(JSON.stringify(what));

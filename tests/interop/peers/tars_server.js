// A Tars server (@tars/rpc). Configuration: port. Servant Test.Echo.EchoObj; functions, text in tag 1, answer in tag 2:
//   echo; add (two numbers); fail (code): an error of the framework; slow (milliseconds); context: the value of `mark`
//   note: counted, for one-way calls; noted: how many. tars_ping is answered, and counted as well; pinged: how many.
'use strict';
const net = require('node:net');
const stream = require('@tars/stream');
const tars = require('@tars/rpc');

const { port } = JSON.parse(process.argv[2]);
let notes = 0;
let pings = 0;

class Echo {
  initialize() {}

  onDispatch(current, name, buffer) {
    const input = new stream.TarsInputStream(buffer);
    const answer = (number, text = '') => {
      const out = new stream.TarsOutputStream();
      out.writeInt32(0, number);
      out.writeString(2, text);
      current.doResponse(out.getBinBuffer());
    };
    switch (name) {
      case 'echo': answer(0, input.readString(1, true)); break;
      case 'add': answer(input.readInt32(1, true) + input.readInt32(2, true)); break;
      case 'fail': current.sendErrorResponse(input.readInt32(1, true), 'as asked'); break;
      case 'slow': setTimeout(() => answer(0, 'late'), input.readInt32(1, true)); break;
      case 'context': answer(0, current.getContext().get('mark')); break;
      case 'note': notes++; break;
      case 'noted': answer(notes); break;
      case 'tars_ping': pings++; answer(0); break;
      case 'pinged': answer(pings); break;
      default: return tars.error.SERVER.FUNC_NOT_FOUND;
    }
    return tars.error.SUCCESS;
  }
}

const option = new tars.server.BindAdapterOption();
option.endpoint = `tcp -h 127.0.0.1 -p ${port} -t 60000`;
option.name = 'Test.Echo.EchoObjAdapter';
option.servant = 'Test.Echo.EchoObj';
option.handleImp = Echo;
tars.server.createServer().start(option);

const wait = () => net.connect(port, '127.0.0.1', function () { this.destroy(); console.log(JSON.stringify({ port })); })
  .on('error', () => setTimeout(wait, 20));
wait();

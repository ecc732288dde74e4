package dragoman.interop;

import com.alipay.sofa.jraft.Node;
import com.alipay.sofa.jraft.RaftGroupService;
import com.alipay.sofa.jraft.Status;
import com.alipay.sofa.jraft.closure.ReadIndexClosure;
import com.alipay.sofa.jraft.conf.Configuration;
import com.alipay.sofa.jraft.entity.PeerId;
import com.alipay.sofa.jraft.entity.Task;
import com.alipay.sofa.jraft.option.NodeOptions;
import com.alipay.sofa.jraft.rpc.RaftRpcServerFactory;
import com.alipay.sofa.jraft.rpc.RpcContext;
import com.alipay.sofa.jraft.rpc.RpcProcessor;
import com.alipay.sofa.jraft.rpc.RpcServer;
import com.alipay.sofa.jraft.util.Endpoint;
import java.io.File;
import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * A node of the counter's group. Arguments: folder, port it listens on, its address in the group, addresses of the whole group.
 * Command: state.
 */
public final class Server {
  static final String GROUP = "counter";

  /** Increments on the leader; reads, on any node, what was committed before. */
  private static final class Processor implements RpcProcessor<Increment> {
    private final CounterMachine machine;
    private Node node;

    Processor(CounterMachine machine) {
      this.machine = machine;
    }

    private static void answer(RpcContext context, Status status, long value) {
      Outcome outcome = new Outcome();
      outcome.setDone(status.isOk());
      outcome.setValue(value);
      context.sendResponse(outcome);
    }

    @Override
    public void handleRequest(RpcContext context, Increment request) {
      if (request.getDelta() == 0) {
        node.readIndex(
            new byte[0],
            new ReadIndexClosure() {
              @Override
              public void run(Status status, long index, byte[] asked) {
                answer(context, status, machine.value.get());
              }
            });
        return;
      }
      ByteBuffer data = ByteBuffer.allocate(Long.BYTES).putLong(request.getDelta());
      data.flip();
      node.apply(new Task(data, new CounterMachine.Applied((status, value) -> answer(context, status, value))));
    }

    @Override
    public String interest() {
      return Increment.class.getName();
    }
  }

  public static void main(String[] args) throws Exception {
    File folder = new File(args[0]);
    folder.mkdirs();
    PeerId self = PeerId.parsePeer(args[2]);
    CounterMachine machine = new CounterMachine();
    NodeOptions options = new NodeOptions();
    options.setElectionTimeoutMs(3000); // no leader loses its place to a busy machine
    options.setSnapshotIntervalSecs(0); // only when asked to
    options.setFsm(machine);
    options.setLogUri(new File(folder, "log").getPath());
    options.setRaftMetaUri(new File(folder, "meta").getPath());
    options.setSnapshotUri(new File(folder, "snapshot").getPath());
    Configuration group = new Configuration();
    if (!group.parse(args[3])) throw new IllegalArgumentException(args[3]);
    options.setInitialConf(group);
    RpcServer rpc = RaftRpcServerFactory.createRaftRpcServer(new Endpoint("127.0.0.1", Integer.parseInt(args[1])));
    Processor processor = new Processor(machine);
    rpc.registerProcessor(processor);
    processor.node = new RaftGroupService(GROUP, self, options, rpc).start();
    Peer.say("started", args[2]);
    Peer.serve(
        (operation, command) -> {
          Map<String, Object> state = new LinkedHashMap<>();
          state.put("leads", machine.leads.get());
          state.put("value", machine.value.get());
          state.put("snapshots_loaded", machine.snapshotsLoaded.get());
          return state;
        });
  }
}

package dragoman.interop;

import com.alipay.sofa.jraft.CliService;
import com.alipay.sofa.jraft.RaftServiceFactory;
import com.alipay.sofa.jraft.RouteTable;
import com.alipay.sofa.jraft.Status;
import com.alipay.sofa.jraft.conf.Configuration;
import com.alipay.sofa.jraft.entity.PeerId;
import com.alipay.sofa.jraft.option.CliOptions;
import com.alipay.sofa.jraft.rpc.impl.cli.CliClientServiceImpl;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeSet;

/**
 * A client of the counter. Argument: addresses of the group. Commands: leader; increment(times), each on the leader, once for each
 * answer that it got; read(peer); snapshot(peer); transfer(peer): make it the leader.
 */
public final class Client {
  private static final CliClientServiceImpl rpc = new CliClientServiceImpl();

  private static String leader() throws Exception {
    Status status = RouteTable.getInstance().refreshLeader(rpc, Server.GROUP, 3000);
    PeerId leader = status.isOk() ? RouteTable.getInstance().selectLeader(Server.GROUP) : null;
    return leader == null ? null : leader.toString();
  }

  private static Outcome ask(String peer, long delta) throws Exception {
    Increment request = new Increment();
    request.setDelta(delta);
    return (Outcome) rpc.getRpcClient().invokeSync(PeerId.parsePeer(peer).getEndpoint(), request, 3000);
  }

  /** Until `times` were acknowledged; what got no good answer may have been applied or not. */
  private static Map<String, Object> increment(int times) throws Exception {
    int failed = 0;
    TreeSet<Long> values = new TreeSet<>();
    long end = System.nanoTime() + 40_000_000_000L;
    String leader = null;
    for (int done = 0; done < times; ) {
      if (System.nanoTime() > end) throw new IllegalStateException("only " + done + " of " + times);
      if (leader == null && (leader = leader()) == null) {
        Thread.sleep(50);
        continue;
      }
      try {
        Outcome outcome = ask(leader, 1);
        if (outcome.isDone()) {
          values.add(outcome.getValue());
          done++;
          continue;
        }
      } catch (Exception e) {
        System.err.println(leader + ": " + e);
      }
      failed++;
      leader = null;
    }
    Map<String, Object> said = new LinkedHashMap<>();
    said.put("distinct", values.size());
    said.put("last", values.last());
    said.put("failed", failed);
    return said;
  }

  public static void main(String[] args) throws Exception {
    Configuration group = new Configuration();
    if (!group.parse(args[0])) throw new IllegalArgumentException(args[0]);
    RouteTable.getInstance().updateConfiguration(Server.GROUP, group);
    CliOptions options = new CliOptions();
    rpc.init(options);
    CliService cli = RaftServiceFactory.createAndInitCliService(options);
    Peer.say("ready", true);
    Peer.serve(
        (operation, command) -> {
          PeerId peer = new PeerId();
          if (command.has("peer")) peer.parse(command.text("peer"));
          switch (operation) {
            case "leader":
              return leader();
            case "increment":
              return increment(command.number("times"));
            case "read":
              Outcome outcome = ask(command.text("peer"), 0);
              return outcome.isDone() ? outcome.getValue() : null;
            case "snapshot":
              return cli.snapshot(Server.GROUP, peer).toString();
            case "transfer":
              return cli.transferLeader(Server.GROUP, group, peer).toString();
            default:
              throw new IllegalArgumentException(operation);
          }
        });
  }
}

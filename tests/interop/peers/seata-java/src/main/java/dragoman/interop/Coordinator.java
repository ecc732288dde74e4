package dragoman.interop;

import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.ChannelFuture;
import io.seata.common.XID;
import io.seata.core.rpc.netty.NettyRemotingServer;
import io.seata.server.UUIDGenerator;
import io.seata.server.coordinator.DefaultCoordinator;
import io.seata.server.session.SessionHolder;
import java.lang.reflect.Field;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Seata's coordinator on loopback, with its sessions in files. Argument: port. */
public final class Coordinator {
  /** Its own main class listens on all addresses. */
  static final class OnLoopback extends ServerBootstrap {
    @Override
    public ChannelFuture bind(int port) {
      return bind("127.0.0.1", port);
    }
  }

  private static Object field(Object of, Class<?> declaring, String name, Object value) throws Exception {
    Field field = declaring.getDeclaredField(name);
    field.setAccessible(true);
    if (value != null) field.set(of, value);
    return field.get(of);
  }

  public static void main(String[] args) throws Exception {
    int port = Integer.parseInt(args[0]);
    ThreadPoolExecutor workers = new ThreadPoolExecutor(4, 16, 60, TimeUnit.SECONDS, new LinkedBlockingQueue<>(1000));
    NettyRemotingServer server = new NettyRemotingServer(workers);
    Object bootstrap = field(server, NettyRemotingServer.class.getSuperclass(), "serverBootstrap", null);
    field(bootstrap, bootstrap.getClass(), "serverBootstrap", new OnLoopback());
    server.setListenPort(port);
    XID.setIpAddress("127.0.0.1");
    XID.setPort(port);
    UUIDGenerator.init(1L);
    SessionHolder.init("file");
    DefaultCoordinator coordinator = new DefaultCoordinator(server);
    coordinator.init();
    server.setHandler(coordinator);
    new Thread(server::init).start();
    Peer.say("started", port);
    Peer.serve((operation, command) -> null);
  }
}

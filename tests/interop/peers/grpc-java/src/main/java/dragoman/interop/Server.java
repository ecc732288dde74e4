package dragoman.interop;

import io.grpc.InsecureServerCredentials;
import io.grpc.ServerInterceptors;
import io.grpc.netty.NettyServerBuilder;
import io.grpc.testing.integration.TestServiceImpl;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;

/** gRPC's interoperability service on loopback, with default options. Argument: port. */
public final class Server {
  private Server() {}

  public static void main(String[] args) throws IOException {
    int port = Integer.parseInt(args[0]);
    ScheduledExecutorService executor = Executors.newScheduledThreadPool(2);
    NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", port), InsecureServerCredentials.create())
        .addService(ServerInterceptors.intercept(new TestServiceImpl(executor), TestServiceImpl.interceptors()))
        .build()
        .start();
    Peer.say("port", port);
    while (System.in.read() >= 0) {}
    System.exit(0);
  }
}

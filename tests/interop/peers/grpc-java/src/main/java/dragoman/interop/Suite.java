package dragoman.interop;

import io.grpc.InsecureServerCredentials;
import io.grpc.ManagedChannelBuilder;
import io.grpc.ServerBuilder;
import io.grpc.netty.InternalNettyChannelBuilder;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.NettyServerBuilder;
import io.grpc.testing.integration.AbstractInteropTest;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import org.junit.After;
import org.junit.Test;

/** gRPC's tests over TCP, each with a server of its own that is reached by another port than the one it listens on. */
public class Suite extends AbstractInteropTest {
  static int connect;
  static int listen;

  @Override
  protected ServerBuilder<?> getServerBuilder() {
    if (listen == 0) return null;
    return NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", listen), InsecureServerCredentials.create())
        .flowControlWindow(TEST_FLOW_CONTROL_WINDOW)
        .maxInboundMessageSize(MAX_MESSAGE_SIZE);
  }

  @Override
  protected ManagedChannelBuilder<?> createChannelBuilder() {
    NettyChannelBuilder builder =
        NettyChannelBuilder.forAddress("127.0.0.1", connect)
            .flowControlWindow(TEST_FLOW_CONTROL_WINDOW)
            .maxInboundMessageSize(MAX_MESSAGE_SIZE)
            .usePlaintext();
    InternalNettyChannelBuilder.setStatsEnabled(builder, false);
    return builder;
  }

  @Override
  protected boolean metricsExpected() {
    return false;
  }

  /** It only begins to end its server, and the next test's can't listen before that is done. */
  @After
  @Override
  public void tearDown() {
    super.tearDown();
    for (int i = 0; listen != 0 && !free() && i < 3000; i++) {
      try {
        Thread.sleep(10);
      } catch (InterruptedException e) {
        return;
      }
    }
  }

  private static boolean free() {
    try (ServerSocket socket = new ServerSocket()) {
      socket.setReuseAddress(true);
      socket.bind(new InetSocketAddress("127.0.0.1", listen));
      return true;
    } catch (IOException e) {
      return false;
    }
  }

  /** Its server would see the address of a sidecar. */
  @Override
  public void getServerAddressAndLocalAddressFromClient() {}

  // Without the probe, which needs a server that knows whether a message was compressed.

  @Test
  public void clientCompressedUnaryCall() throws Exception {
    clientCompressedUnary(false);
  }

  @Test
  public void serverCompressedUnaryCall() throws Exception {
    serverCompressedUnary();
  }

  @Test
  public void clientCompressedStreamingCall() throws Exception {
    clientCompressedStreaming(false);
  }

  @Test
  public void serverCompressedStreamingCall() throws Exception {
    serverCompressedStreaming();
  }
}

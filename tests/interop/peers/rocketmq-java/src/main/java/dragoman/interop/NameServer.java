package dragoman.interop;

import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.common.namesrv.NamesrvConfig;
import org.apache.rocketmq.namesrv.NamesrvController;
import org.apache.rocketmq.remoting.netty.NettyServerConfig;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** A name server on loopback. Argument: port. */
public final class NameServer {
  public static void main(String[] args) throws Exception {
    System.setProperty(RemotingCommand.REMOTING_VERSION_KEY, Integer.toString(MQVersion.CURRENT_VERSION));
    NettyServerConfig server = new NettyServerConfig();
    server.setBindAddress("127.0.0.1");
    server.setListenPort(Integer.parseInt(args[0]));
    NamesrvController controller = new NamesrvController(new NamesrvConfig(), server);
    if (!controller.initialize()) throw new IllegalStateException("not initialized");
    controller.start();
    Peer.say("port", server.getListenPort());
    Peer.serve((operation, command) -> null);
  }
}

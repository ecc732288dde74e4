package dragoman.interop;

import java.io.File;
import org.apache.rocketmq.broker.BrokerController;
import org.apache.rocketmq.common.BrokerConfig;
import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyServerConfig;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.store.config.MessageStoreConfig;

/**
 * A broker on loopback that tells the name server another address of loopback, with the same port, where its sidecar listens.
 * Arguments: port, that address, the name server's address, a folder.
 */
public final class Broker {
  public static void main(String[] args) throws Exception {
    System.setProperty(RemotingCommand.REMOTING_VERSION_KEY, Integer.toString(MQVersion.CURRENT_VERSION));
    NettyServerConfig server = new NettyServerConfig();
    server.setBindAddress("127.0.0.1");
    server.setListenPort(Integer.parseInt(args[0]));
    BrokerConfig broker = new BrokerConfig();
    broker.setBrokerName("interop");
    broker.setBrokerIP1(args[1]);
    broker.setNamesrvAddr(args[2]);
    broker.setDefaultTopicQueueNums(2);
    broker.setTransactionTimeOut(500);
    broker.setTransactionCheckInterval(500);
    // By default a request that waited for 200 ms is refused; a busy machine is no reason for us.
    broker.setWaitTimeMillsInSendQueue(60_000);
    broker.setWaitTimeMillsInPullQueue(60_000);
    broker.setWaitTimeMillsInHeartbeatQueue(60_000);
    broker.setWaitTimeMillsInTransactionQueue(60_000);
    MessageStoreConfig store = new MessageStoreConfig();
    store.setStorePathRootDir(args[3]);
    store.setStorePathCommitLog(new File(args[3], "commitlog").getPath());
    store.setMappedFileSizeCommitLog(16 << 20);
    store.setMappedFileSizeConsumeQueue(20 * 10000);
    store.setMaxHashSlotNum(10000);
    store.setMaxIndexNum(40000);
    store.setDiskMaxUsedSpaceRatio(99);
    store.setOsPageCacheBusyTimeOutMills(60_000);
    store.setTimerWheelEnable(false);
    store.setDuplicationEnable(true); // until it is started: then nothing listens for slaves on all addresses
    BrokerController controller = new BrokerController(broker, server, new NettyClientConfig(), store);
    if (!controller.initialize()) throw new IllegalStateException("not initialized");
    controller.start();
    store.setDuplicationEnable(false);
    controller.startService(broker.getBrokerId(), controller.getBrokerAddr()); // which start() leaves out then
    Peer.say("address", controller.getBrokerAddr());
    Peer.serve((operation, command) -> null);
  }
}

package dragoman.interop;

import java.io.IOException;
import java.util.List;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ArgumentConfig;
import org.apache.dubbo.config.MethodConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/** A Dubbo provider on loopback, of HelloService 1.0.0 and 2.0.0 of the group "blue". Arguments: protocol, port, name. */
public final class Server {
  /** Says that the argument of subscribe() is called back. */
  private static MethodConfig subscription() {
    ArgumentConfig listener = new ArgumentConfig();
    listener.setIndex(0);
    listener.setCallback(true);
    MethodConfig method = new MethodConfig();
    method.setName("subscribe");
    method.setArguments(List.of(listener));
    return method;
  }

  static void export(HelloService hello, String group, String version) {
    ServiceConfig<HelloService> service = new ServiceConfig<>();
    service.setInterface(HelloService.class);
    service.setRef(hello);
    service.setVersion(version);
    if (group != null) service.setGroup(group);
    service.setMethods(List.of(subscription()));
    service.export();
  }

  public static void main(String[] args) throws IOException {
    int port = Integer.parseInt(args[1]);
    ApplicationConfig application = new ApplicationConfig("interop-server");
    application.setQosEnable(false);
    ProtocolConfig protocol = new ProtocolConfig(args[0], port);
    protocol.setHost(Client.LOOPBACK);
    protocol.setThreads(400); // of its 200 one may still be busy with an earlier call, and it resets what finds none
    DubboBootstrap.getInstance().application(application).registry(new RegistryConfig("N/A")).protocol(protocol);
    export(new Hello(args[2]), null, "1.0.0");
    export(new Hello(args[2] + "-blue"), "blue", "2.0.0");
    Peer.say("port", port);
    System.in.read();
    System.exit(0);
  }
}

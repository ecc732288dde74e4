package dragoman.interop;

import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.ServerConfig;

/** A SOFARPC server on loopback. Argument: port. */
public final class Server {
  static final class Hello implements HelloService {
    @Override
    public String echo(String token) {
      return token;
    }

    @Override
    public String pause(int ms) {
      try {
        Thread.sleep(ms);
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
      return "paused";
    }

    @Override
    public String boom() {
      throw new IllegalStateException("business failed");
    }
  }

  public static void main(String[] args) {
    int port = Integer.parseInt(args[0]);
    ServerConfig server =
        new ServerConfig().setProtocol("bolt").setBoundHost("127.0.0.1").setHost("127.0.0.1").setPort(port).setDaemon(false);
    new ProviderConfig<HelloService>()
        .setInterfaceId(HelloService.class.getName())
        .setRef(new Hello())
        .setServer(server)
        .setRegister(false)
        .export();
    System.out.println("{\"port\": " + port + "}");
  }
}

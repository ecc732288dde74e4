package dragoman.interop;

import com.alipay.sofa.rpc.config.ConsumerConfig;
import com.alipay.sofa.rpc.core.exception.SofaRpcException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A SOFARPC client. Arguments: pairs of a word and a port. "load": many calls at once, each answer checked; "boom": the service
 * throws; any other word: one call of 600 ms. Prints one JSON object for each.
 */
public final class Client {
  static HelloService refer(int port, int timeoutMs) {
    return new ConsumerConfig<HelloService>()
        .setInterfaceId(HelloService.class.getName())
        .setProtocol("bolt")
        .setDirectUrl("bolt://127.0.0.1:" + port)
        .setTimeout(timeoutMs)
        .setRepeatedReferLimit(-1)
        .setRegister(false)
        .setSubscribe(false)
        .refer();
  }

  static String load(HelloService hello) throws InterruptedException {
    int threads = 16;
    int calls = 250;
    AtomicInteger wrong = new AtomicInteger();
    AtomicInteger failed = new AtomicInteger();
    CountDownLatch done = new CountDownLatch(threads);
    for (int t = 0; t < threads; t++) {
      String name = "thread " + t + " call ";
      new Thread(
              () -> {
                for (int i = 0; i < calls; i++) {
                  String token = name + i + "x".repeat(i);
                  try {
                    if (!hello.echo(token).equals(token)) wrong.incrementAndGet();
                  } catch (RuntimeException e) {
                    if (failed.incrementAndGet() == 1) e.printStackTrace();
                  }
                }
                done.countDown();
              })
          .start();
    }
    done.await();
    return wrong.get() + " wrong, " + failed.get() + " failed of " + threads * calls;
  }

  static String call(String word, int port) throws InterruptedException {
    HelloService hello = refer(port, word.equals("load") ? 60000 : 5000);
    try {
      if (word.equals("load")) return load(hello);
      return word.equals("boom") ? hello.boom() : hello.pause(600);
    } catch (SofaRpcException e) {
      return e.getClass().getSimpleName() + " " + e.getErrorType();
    } catch (RuntimeException e) {
      return e.getClass().getSimpleName() + ": " + e.getMessage();
    }
  }

  public static void main(String[] args) throws InterruptedException {
    for (int i = 0; i + 1 < args.length; i += 2) {
      String said = call(args[i], Integer.parseInt(args[i + 1]));
      System.out.println("{\"" + args[i] + "\": \"" + said + "\"}");
    }
    System.exit(0);
  }
}

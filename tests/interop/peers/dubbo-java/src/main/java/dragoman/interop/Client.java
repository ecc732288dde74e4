package dragoman.interop;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MethodConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.rpc.service.GenericService;

/**
 * A Dubbo consumer of providers given by their ports. Argument: protocol. Commands: call(ports, method, text, ms, color, group, version,
 * timeout, generic), load(ports, calls, threads).
 */
public final class Client {
  /** 127.0.0.1 as one number: where Dubbo sees "127." or "localhost" it takes another address of the machine. */
  static final String LOOPBACK = "2130706433";

  private static final Map<String, Object> references = new ConcurrentHashMap<>();
  private static String protocol;

  private static final List<String> heard = Collections.synchronizedList(new ArrayList<>());

  private static Object refer(
      String ports, String group, String version, int timeout, boolean generic, String serialization) {
    return references.computeIfAbsent(
        String.join(" ", ports, group, version, "" + timeout, "" + generic, serialization),
        key -> {
          List<String> urls = new ArrayList<>();
          for (String port : ports.split(",")) urls.add(protocol + "://" + LOOPBACK + ":" + port);
          ReferenceConfig<Object> reference = new ReferenceConfig<>();
          reference.setInterface(HelloService.class.getName());
          reference.setUrl(String.join(";", urls));
          reference.setVersion(version);
          if (group != null) reference.setGroup(group);
          if (generic) reference.setGeneric("true");
          reference.setTimeout(timeout);
          reference.setRetries(0);
          reference.setCheck(false);
          Map<String, String> parameters = new HashMap<>(Map.of("heartbeat", "500", "subscribe.0.callback", "true"));
          if (serialization != null) parameters.put("serialization", serialization);
          reference.setParameters(parameters);
          MethodConfig note = new MethodConfig();
          note.setName("note");
          note.setReturn(false);
          reference.setMethods(List.of(note));
          return reference.get();
        });
  }

  private static Object refer(Peer.Command c) {
    return refer(
        c.text("ports"),
        c.text("group"),
        c.text("version", "1.0.0"),
        c.number("timeout", 20000),
        c.has("generic"),
        c.text("serialization"));
  }

  private static Object invoke(HelloService hello, String method, Peer.Command c) throws Exception {
    switch (method) {
      case "echo":
        return hello.echo("x".repeat(c.number("size", 0)) + c.text("text", ""));
      case "copy":
        return hello.copy(Item.sample()).isSample();
      case "nothing":
        return hello.nothing();
      case "pause":
        return hello.pause(c.number("ms"));
      case "boom":
        return hello.boom();
      case "refuse":
        return hello.refuse();
      case "note":
        hello.note(c.text("text"));
        return null;
      case "noted":
        return hello.noted();
      case "subscribe":
        hello.subscribe(
            text -> {
              heard.add(text);
              return "heard " + text;
            });
        return null;
      case "heard":
        return new ArrayList<>(heard);
      case "who":
        return hello.who(Item.sample());
      default:
        throw new IllegalArgumentException(method);
    }
  }

  private static Object generic(GenericService hello, String method, Peer.Command c) {
    if (c.has("text")) return hello.$invoke(method, new String[] {"java.lang.String"}, new Object[] {c.text("text")});
    return hello.$invoke(method, new String[0], new Object[0]);
  }

  private static Map<String, Object> call(Peer.Command c) {
    Map<String, Object> said = new LinkedHashMap<>();
    Object service = refer(c);
    try {
      if (c.has("color")) RpcContext.getContext().setAttachment("color", c.text("color"));
      String method = c.text("method");
      said.put(
          "value", c.has("generic") ? generic((GenericService) service, method, c) : invoke((HelloService) service, method, c));
    } catch (RpcException e) {
      said.put("error", e.getClass().getSimpleName());
      said.put("code", e.getCode());
      said.put("message", e.getMessage());
    } catch (RefusedException e) {
      said.put("error", "RefusedException");
      said.put("reason", e.getReason());
      said.put("message", e.getMessage());
    } catch (Exception e) {
      said.put("error", e.getClass().getSimpleName());
      said.put("message", e.getMessage());
    }
    return said;
  }

  private static Map<String, Object> load(Peer.Command c) throws InterruptedException {
    HelloService hello = (HelloService) refer(c);
    int calls = c.number("calls");
    AtomicInteger wrong = new AtomicInteger();
    Map<String, Integer> errors = new ConcurrentHashMap<>();
    List<Thread> threads = new ArrayList<>();
    for (int t = 0; t < c.number("threads"); t++) {
      String name = "thread " + t + " call ";
      Thread thread =
          new Thread(
              () -> {
                for (int i = 0; i < calls; i++) {
                  String token = name + i + "x".repeat(i);
                  try {
                    if (!hello.echo(token).equals(token)) wrong.incrementAndGet();
                    if (c.has("every")) Thread.sleep(c.number("every"));
                  } catch (Exception e) {
                    errors.merge(e.toString(), 1, Integer::sum);
                  }
                }
              });
      thread.start();
      threads.add(thread);
    }
    for (Thread thread : threads) thread.join();
    Map<String, Object> said = new LinkedHashMap<>();
    said.put("wrong", wrong.get());
    said.put("errors", new TreeMap<>(errors));
    return said;
  }

  public static void main(String[] args) throws Exception {
    protocol = args[0];
    ApplicationConfig application = new ApplicationConfig("interop-client");
    application.setQosEnable(false);
    DubboBootstrap.getInstance().application(application).registry(new RegistryConfig("N/A"));
    Peer.say("ready", true);
    Peer.serve((operation, command) -> operation.equals("load") ? load(command) : call(command));
  }
}

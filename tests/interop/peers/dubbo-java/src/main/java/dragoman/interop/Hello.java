package dragoman.interop;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.apache.dubbo.rpc.RpcContext;

final class Hello implements HelloService {
  private final String name;
  private final List<String> notes = Collections.synchronizedList(new ArrayList<>());

  Hello(String name) {
    this.name = name;
  }

  @Override
  public String echo(String text) {
    return text;
  }

  @Override
  public Item copy(Item item) {
    return item;
  }

  @Override
  public String nothing() {
    return null;
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

  @Override
  public String refuse() throws RefusedException {
    throw new RefusedException("not today", 42);
  }

  @Override
  public void note(String text) {
    notes.add(text);
  }

  @Override
  public List<String> noted() {
    return new ArrayList<>(notes);
  }

  @Override
  public void subscribe(Listener listener) {
    new Thread(
            () -> {
              for (int i = 0; i < 3; i++) note(listener.heard("news " + i));
            })
        .start();
  }

  @Override
  public String who(Item item) {
    return name + " " + RpcContext.getContext().getAttachment("color") + (item.isSample() ? "" : " broken");
  }
}

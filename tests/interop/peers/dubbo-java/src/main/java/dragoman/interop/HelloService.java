package dragoman.interop;

import java.util.List;

public interface HelloService {
  String echo(String text);

  Item copy(Item item);

  String nothing();

  String pause(int ms);

  /** Throws an IllegalStateException. */
  String boom();

  String refuse() throws RefusedException;

  /** One-way. */
  void note(String text);

  List<String> noted();

  /** Has `listener` called three times, later, and notes its answers. */
  void subscribe(Listener listener);

  /** The name of the implementation, and the attachment "color" that came with the call. */
  String who(Item item);
}

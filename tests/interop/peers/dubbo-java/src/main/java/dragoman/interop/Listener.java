package dragoman.interop;

/** What a consumer gives to a provider, which calls it over the consumer's connection. */
public interface Listener {
  String heard(String text);
}

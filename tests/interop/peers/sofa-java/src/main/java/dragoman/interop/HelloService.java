package dragoman.interop;

public interface HelloService {
  String echo(String token);

  String pause(int ms);

  String boom();
}

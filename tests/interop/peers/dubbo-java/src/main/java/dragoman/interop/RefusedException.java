package dragoman.interop;

/** A failure that the interface declares. */
public class RefusedException extends Exception {
  private static final long serialVersionUID = 1;
  private final int reason;

  public RefusedException(String message, int reason) {
    super(message);
    this.reason = reason;
  }

  public int getReason() {
    return reason;
  }
}

package dragoman.interop;

import java.io.Serializable;

/** Adds `delta` to the counter, or reads it where that is 0. */
public class Increment implements Serializable {
  private static final long serialVersionUID = 1;
  private long delta;

  public long getDelta() {
    return delta;
  }

  public void setDelta(long delta) {
    this.delta = delta;
  }
}

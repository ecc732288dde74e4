package dragoman.interop;

import java.io.Serializable;

/** The answer to an Increment. */
public class Outcome implements Serializable {
  private static final long serialVersionUID = 1;
  private boolean done;
  private long value;

  public boolean isDone() {
    return done;
  }

  public void setDone(boolean done) {
    this.done = done;
  }

  public long getValue() {
    return value;
  }

  public void setValue(long value) {
    this.value = value;
  }
}

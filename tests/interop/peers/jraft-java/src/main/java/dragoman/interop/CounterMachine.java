package dragoman.interop;

import com.alipay.sofa.jraft.Closure;
import com.alipay.sofa.jraft.Iterator;
import com.alipay.sofa.jraft.Status;
import com.alipay.sofa.jraft.core.StateMachineAdapter;
import com.alipay.sofa.jraft.error.RaftError;
import com.alipay.sofa.jraft.storage.snapshot.SnapshotReader;
import com.alipay.sofa.jraft.storage.snapshot.SnapshotWriter;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/** The counter. Its snapshots are padded, so that one takes several frames. */
final class CounterMachine extends StateMachineAdapter {
  static final int PADDING = 1 << 20;
  private static final String FILE = "counter";

  final AtomicLong value = new AtomicLong();
  final AtomicInteger snapshotsLoaded = new AtomicInteger();
  final AtomicBoolean leads = new AtomicBoolean();

  /** What waits for an entry to be applied. */
  static final class Applied implements Closure {
    final java.util.function.BiConsumer<Status, Long> then;
    long value;

    Applied(java.util.function.BiConsumer<Status, Long> then) {
      this.then = then;
    }

    @Override
    public void run(Status status) {
      then.accept(status, value);
    }
  }

  @Override
  public void onApply(Iterator entries) {
    for (; entries.hasNext(); entries.next()) {
      long now = value.addAndGet(entries.getData().duplicate().getLong());
      Applied applied = (Applied) entries.done();
      if (applied != null) {
        applied.value = now;
        applied.run(Status.OK());
      }
    }
  }

  @Override
  public void onSnapshotSave(SnapshotWriter writer, Closure done) {
    ByteBuffer bytes = ByteBuffer.allocate(Long.BYTES + PADDING).putLong(value.get());
    try {
      Files.write(Path.of(writer.getPath(), FILE), bytes.array());
      done.run(writer.addFile(FILE) ? Status.OK() : new Status(RaftError.EIO, "not added"));
    } catch (IOException e) {
      done.run(new Status(RaftError.EIO, e.toString()));
    }
  }

  @Override
  public boolean onSnapshotLoad(SnapshotReader reader) {
    try {
      byte[] bytes = Files.readAllBytes(Path.of(reader.getPath(), FILE));
      if (bytes.length != Long.BYTES + PADDING) return false;
      value.set(ByteBuffer.wrap(bytes).getLong());
      snapshotsLoaded.incrementAndGet();
      return true;
    } catch (IOException e) {
      return false;
    }
  }

  @Override
  public void onLeaderStart(long term) {
    leads.set(true);
  }

  @Override
  public void onLeaderStop(Status status) {
    leads.set(false);
  }
}

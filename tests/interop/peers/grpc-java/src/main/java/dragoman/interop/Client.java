package dragoman.interop;

import com.google.protobuf.ByteString;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.StreamObserver;
import io.grpc.testing.integration.Messages.Payload;
import io.grpc.testing.integration.Messages.ResponseParameters;
import io.grpc.testing.integration.Messages.SimpleRequest;
import io.grpc.testing.integration.Messages.StreamingInputCallRequest;
import io.grpc.testing.integration.Messages.StreamingInputCallResponse;
import io.grpc.testing.integration.Messages.StreamingOutputCallRequest;
import io.grpc.testing.integration.Messages.StreamingOutputCallResponse;
import io.grpc.testing.integration.TestServiceGrpc;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.Request;
import org.junit.runner.manipulation.Filter;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/**
 * gRPC's own interoperability tests, and calls at full speed. Arguments: "suite", the port to connect to, the port where each test's
 * server listens (0: there is one already), the names of the tests to run (none: all). Or "load", port, number of calls, seconds:
 * until both are reached.
 */
public final class Client {
  private interface Call {
    void run() throws Exception;
  }

  private static final AtomicLong calls = new AtomicLong();
  private static final AtomicLong messages = new AtomicLong();
  private static final Map<String, Integer> errors = new TreeMap<>();

  private Client() {}

  private static void suite(List<String> names) {
    JUnitCore core = new JUnitCore();
    List<String> failed = new ArrayList<>();
    core.addListener(
        new RunListener() {
          @Override
          public void testFailure(Failure failure) {
            failed.add(failure.getDescription().getMethodName());
            System.out.println(failure.getTrace());
          }

          @Override
          public void testAssumptionFailure(Failure failure) {
            System.out.println("left out: " + failure);
          }

          @Override
          public void testFinished(Description test) {
            System.out.println("ran: " + test.getMethodName());
          }
        });
    Request request =
        Request.aClass(Suite.class)
            .filterWith(
                new Filter() {
                  @Override
                  public boolean shouldRun(Description test) {
                    return test.isSuite() || names.isEmpty() || names.contains(test.getMethodName());
                  }

                  @Override
                  public String describe() {
                    return "by name";
                  }
                });
    int run = core.run(request).getRunCount();
    Peer.say("suite", run, "failed", failed);
  }

  private static Payload payload(int size) {
    return Payload.newBuilder().setBody(ByteString.copyFrom(new byte[size])).build();
  }

  private static void check(boolean right, String what) {
    if (!right) throw new IllegalStateException(what);
  }

  private static void unary(TestServiceGrpc.TestServiceBlockingStub stub) {
    SimpleRequest request = SimpleRequest.newBuilder().setResponseSize(100).setPayload(payload(100)).build();
    check(stub.unaryCall(request).getPayload().getBody().size() == 100, "size");
  }

  private static void feed(TestServiceGrpc.TestServiceBlockingStub stub) {
    StreamingOutputCallRequest.Builder request = StreamingOutputCallRequest.newBuilder();
    for (int i = 0; i < 100; i++) request.addResponseParameters(ResponseParameters.newBuilder().setSize(2000));
    int got = 0;
    for (Iterator<?> i = stub.streamingOutputCall(request.build()); i.hasNext(); got++) i.next();
    messages.addAndGet(got);
    check(got == 100, "messages: " + got);
  }

  private static void gather(TestServiceGrpc.TestServiceStub stub) throws Exception {
    CompletableFuture<Integer> done = new CompletableFuture<>();
    StreamObserver<StreamingInputCallRequest> out =
        stub.streamingInputCall(
            new StreamObserver<StreamingInputCallResponse>() {
              @Override
              public void onNext(StreamingInputCallResponse answer) {
                done.complete(answer.getAggregatedPayloadSize());
              }

              @Override
              public void onError(Throwable error) {
                done.completeExceptionally(error);
              }

              @Override
              public void onCompleted() {
                done.complete(-1);
              }
            });
    for (int i = 0; i < 100; i++) out.onNext(StreamingInputCallRequest.newBuilder().setPayload(payload(2000)).build());
    out.onCompleted();
    messages.addAndGet(100);
    check(done.get(60, TimeUnit.SECONDS) == 200000, "aggregated size");
  }

  /** 50 questions over one stream, each after the answer to the one before. */
  private static void chat(TestServiceGrpc.TestServiceStub stub) throws Exception {
    CompletableFuture<Integer> done = new CompletableFuture<>();
    StreamingOutputCallRequest question =
        StreamingOutputCallRequest.newBuilder().addResponseParameters(ResponseParameters.newBuilder().setSize(100)).build();
    CompletableFuture<StreamObserver<StreamingOutputCallRequest>> out = new CompletableFuture<>();
    out.complete(
        stub.fullDuplexCall(
            new StreamObserver<StreamingOutputCallResponse>() {
              private int got;

              @Override
              public void onNext(StreamingOutputCallResponse answer) {
                if (++got < 50) out.join().onNext(question);
                else out.join().onCompleted();
              }

              @Override
              public void onError(Throwable error) {
                done.completeExceptionally(error);
              }

              @Override
              public void onCompleted() {
                done.complete(got);
              }
            }));
    out.get().onNext(question);
    int got = done.get(60, TimeUnit.SECONDS);
    messages.addAndGet(got);
    check(got == 50, "answers: " + got);
  }

  private static void failed(String kind, Throwable error) {
    Throwable cause = error.getCause() == null ? error : error.getCause();
    synchronized (errors) {
      errors.merge(kind + ": " + (cause instanceof StatusRuntimeException ? cause.getMessage() : cause.toString()), 1, Integer::sum);
    }
  }

  private static void load(int port, long wanted, int seconds) throws Exception {
    ManagedChannel channel = NettyChannelBuilder.forAddress("127.0.0.1", port).usePlaintext().build();
    TestServiceGrpc.TestServiceBlockingStub blocking = TestServiceGrpc.newBlockingStub(channel);
    TestServiceGrpc.TestServiceStub async = TestServiceGrpc.newStub(channel);
    long begin = System.nanoTime();
    Map<String, Call> kinds = new TreeMap<>();
    for (int i = 0; i < 4; i++) kinds.put("unary " + i, () -> unary(blocking));
    kinds.put("server stream", () -> feed(blocking));
    kinds.put("client stream", () -> gather(async));
    kinds.put("chat", () -> chat(async));
    List<Thread> threads = new ArrayList<>();
    for (Map.Entry<String, Call> kind : kinds.entrySet()) {
      Thread thread =
          new Thread(
              () -> {
                for (double past = 0; past < 100 && (past < seconds || calls.get() < wanted); calls.incrementAndGet()) {
                  try {
                    kind.getValue().run();
                  } catch (Exception e) {
                    failed(kind.getKey(), e);
                  }
                  past = (System.nanoTime() - begin) / 1e9;
                }
              });
      thread.start();
      threads.add(thread);
    }
    for (Thread thread : threads) thread.join();
    Peer.say("load", calls.get(), "messages", messages.get(), "seconds", (System.nanoTime() - begin) / 1e9, "errors", errors);
    channel.shutdownNow();
  }

  public static void main(String[] args) throws Exception {
    if (args[0].equals("suite")) {
      Suite.connect = Integer.parseInt(args[1]);
      Suite.listen = Integer.parseInt(args[2]);
      suite(List.of(args).subList(3, args.length));
    } else {
      load(Integer.parseInt(args[1]), Long.parseLong(args[2]), Integer.parseInt(args[3]));
    }
    System.exit(0);
  }
}

package dragoman.interop;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.topic.TopicValidator;

/**
 * A producer or consumer. Arguments: "producer" or "consumer", the name server's address, topic. A producer takes send(way, count, size),
 * which tells what was sent, and "transaction"; a consumer "received". Messages are told as key, property and checksum of the body.
 */
public final class Messenger {
  private static String topic;

  private static String describe(Message message) {
    CRC32 sum = new CRC32();
    sum.update(message.getBody());
    return message.getKeys() + " " + message.getUserProperty("color") + " " + message.getBody().length + " " + sum.getValue();
  }

  /** Half of it compresses well. */
  private static Message make(String key, int size) {
    byte[] body = new byte[size];
    byte[] noise = new byte[size / 2];
    new Random(key.hashCode()).nextBytes(noise);
    System.arraycopy(noise, 0, body, 0, noise.length);
    Message message = new Message(topic, "tag", key, body);
    message.putUserProperty("color", "gräy");
    return message;
  }

  private static void check(SendResult result) {
    if (result.getSendStatus() != SendStatus.SEND_OK) throw new IllegalStateException(result.toString());
  }

  private static Object send(DefaultMQProducer producer, Peer.Command c) throws Exception {
    String way = c.text("way");
    List<Message> messages = new ArrayList<>();
    List<String> sent = new ArrayList<>();
    for (int i = 0; i < c.number("count"); i++) {
      Message message = make(way + "-" + c.number("size") + "-" + i, c.number("size"));
      messages.add(message);
      sent.add(describe(message));
    }
    List<Throwable> failed = Collections.synchronizedList(new ArrayList<>());
    CountDownLatch left = new CountDownLatch(way.equals("async") ? messages.size() : 0);
    if (way.equals("batch")) check(producer.send(messages, 10000));
    else
      for (Message message : messages) {
        if (way.equals("sync")) {
          check(producer.send(message, 10000));
        } else if (way.equals("oneway")) {
          producer.sendOneway(message);
        } else {
          producer.send(
              message,
              new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                  left.countDown();
                }

                @Override
                public void onException(Throwable e) {
                  failed.add(e);
                  left.countDown();
                }
              },
              20000);
        }
      }
    if (!left.await(30, TimeUnit.SECONDS)) throw new IllegalStateException(left.getCount() + " not answered");
    if (!failed.isEmpty()) throw new IllegalStateException(failed.get(0));
    return sent;
  }

  /** The first answer is "unknown", so that the broker has to ask back. */
  private static final class Decides implements TransactionListener {
    @Override
    public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
      return LocalTransactionState.UNKNOW;
    }

    @Override
    public LocalTransactionState checkLocalTransaction(MessageExt message) {
      return message.getKeys().endsWith("commit") ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
    }
  }

  /** A broker is known to the name server in its own time, which a cold machine stretches. */
  private static void awaitRoute(DefaultMQProducer producer) throws Exception {
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
    for (; ; Thread.sleep(100)) {
      try {
        if (!producer.fetchPublishMessageQueues(TopicValidator.AUTO_CREATE_TOPIC_KEY_TOPIC).isEmpty()) return;
      } catch (MQClientException e) {
        if (System.nanoTime() > until) throw e;
      }
    }
  }

  private static void produce(String names) throws Exception {
    TransactionMQProducer producer = new TransactionMQProducer("interop-producers");
    producer.setNamesrvAddr(names);
    producer.setVipChannelEnabled(false);
    producer.setTransactionListener(new Decides());
    producer.setRetryTimesWhenSendFailed(0);
    producer.setRetryTimesWhenSendAsyncFailed(0);
    producer.start();
    awaitRoute(producer);
    Peer.say("ready", true);
    Peer.serve(
        (operation, command) -> {
          if (operation.equals("send")) {
            try {
              return send(producer, command);
            } catch (MQBrokerException e) {
              return e.getResponseCode();
            }
          }
          for (String way : new String[] {"rollback", "commit"})
            producer.sendMessageInTransaction(make("transaction-" + way, 100), null);
          return null;
        });
  }

  private static void consume(String names) throws Exception {
    List<String> received = Collections.synchronizedList(new ArrayList<>());
    DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("interop-consumers");
    consumer.setNamesrvAddr(names);
    consumer.setVipChannelEnabled(false);
    consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
    consumer.subscribe(topic, "tag");
    consumer.registerMessageListener(
        (MessageListenerConcurrently)
            (messages, context) -> {
              for (MessageExt message : messages) received.add(describe(message));
              return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
    consumer.start();
    Peer.say("ready", true);
    Peer.serve((operation, command) -> new ArrayList<>(received));
  }

  public static void main(String[] args) throws Exception {
    topic = args[2];
    if (args[0].equals("producer")) produce(args[1]);
    else consume(args[1]);
  }
}

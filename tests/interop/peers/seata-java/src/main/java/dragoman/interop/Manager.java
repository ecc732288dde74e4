package dragoman.interop;

import io.seata.core.model.BranchType;
import io.seata.rm.DefaultResourceManager;
import io.seata.rm.RMClient;
import io.seata.rm.tcc.TCCResource;
import io.seata.rm.tcc.api.BusinessActionContext;
import io.seata.tm.TMClient;
import io.seata.tm.api.GlobalTransaction;
import io.seata.tm.api.GlobalTransactionContext;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Arguments: "tm" or "rm". A transaction manager takes the commands begin(name), commit(xid), rollback(xid), status(xid) and load(times,
 * threads); a resource manager branch(xid, data) and done(), which tells what the coordinator had it do.
 */
public final class Manager {
  /** A resource of two phases; its second one only takes notes. */
  public static final class Account {
    final List<String> done = Collections.synchronizedList(new ArrayList<>());

    public boolean prepare(BusinessActionContext context) {
      return true;
    }

    public boolean commit(BusinessActionContext context) {
      return note("commit", context);
    }

    public boolean rollback(BusinessActionContext context) {
      return note("rollback", context);
    }

    private boolean note(String what, BusinessActionContext context) {
      done.add(what + " " + context.getXid() + " " + context.getActionContext("data"));
      return true;
    }
  }

  private static final String RESOURCE = "account";

  private static GlobalTransaction begin(String name) throws Exception {
    GlobalTransaction transaction = GlobalTransactionContext.createNew();
    transaction.begin(30000, name);
    return transaction;
  }

  private static Object manage(String operation, Peer.Command command) throws Exception {
    io.seata.core.context.RootContext.unbind();
    if (operation.equals("begin")) return begin(command.text("name")).getXid();
    if (operation.equals("load")) return load(command.number("times"), command.number("threads"));
    GlobalTransaction transaction = GlobalTransactionContext.reload(command.text("xid"));
    if (operation.equals("commit")) transaction.commit();
    else if (operation.equals("rollback")) transaction.rollback();
    return transaction.getStatus().toString();
  }

  /** Transactions without branches, many at once. */
  private static Object load(int times, int threads) throws InterruptedException {
    AtomicInteger failed = new AtomicInteger();
    List<String> xids = Collections.synchronizedList(new ArrayList<>());
    List<Thread> all = new ArrayList<>();
    for (int t = 0; t < threads; t++) {
      Thread thread =
          new Thread(
              () -> {
                for (int i = 0; i < times; i++) {
                  try {
                    GlobalTransaction transaction = begin("load");
                    xids.add(transaction.getXid());
                    if (i % 2 == 0) transaction.commit();
                    else transaction.rollback();
                  } catch (Exception e) {
                    e.printStackTrace();
                    failed.incrementAndGet();
                  }
                }
              });
      thread.start();
      all.add(thread);
    }
    for (Thread thread : all) thread.join();
    return Map.of("failed", failed.get(), "distinct", (int) xids.stream().distinct().count());
  }

  public static void main(String[] args) throws Exception {
    String application = "interop-" + args[0];
    if (args[0].equals("tm")) {
      TMClient.init(application, "interop");
      Peer.say("ready", true);
      Peer.serve(Manager::manage);
      return;
    }
    RMClient.init(application, "interop");
    Account account = new Account();
    TCCResource resource = new TCCResource();
    resource.setActionName(RESOURCE);
    resource.setTargetBean(account);
    resource.setPrepareMethod(Account.class.getMethod("prepare", BusinessActionContext.class));
    resource.setCommitMethodName("commit");
    resource.setCommitMethod(Account.class.getMethod("commit", BusinessActionContext.class));
    resource.setRollbackMethodName("rollback");
    resource.setRollbackMethod(Account.class.getMethod("rollback", BusinessActionContext.class));
    DefaultResourceManager.get().registerResource(resource);
    Peer.say("ready", true);
    Peer.serve(
        (operation, command) -> {
          if (operation.equals("done")) return new ArrayList<>(account.done);
          String data = "{\"actionContext\":{\"data\":\"" + command.text("data") + "\"}}";
          return DefaultResourceManager.get()
              .branchRegister(BranchType.TCC, RESOURCE, null, command.text("xid"), data, null)
              .toString();
        });
  }
}

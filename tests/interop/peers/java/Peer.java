package dragoman.interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the peers in Java share: JSON objects, one a line, out, and commands in (harness.py). */
public final class Peer {
  /** Does one command; what it returns is the answer's "value". */
  public interface Handler {
    Object run(String operation, Command command) throws Exception;
  }

  /** The members of a command, none of them an object or a list. */
  public static final class Command {
    private final Map<String, Object> members;

    Command(Map<String, Object> members) {
      this.members = members;
    }

    public String text(String name, String otherwise) {
      Object value = members.get(name);
      return value == null ? otherwise : value.toString();
    }

    public String text(String name) {
      return text(name, null);
    }

    public int number(String name, int otherwise) {
      Object value = members.get(name);
      return value == null ? otherwise : ((Number) value).intValue();
    }

    public int number(String name) {
      return ((Number) members.get(name)).intValue();
    }

    public boolean has(String name) {
      return members.get(name) != null;
    }
  }

  private Peer() {}

  /** Prints an object. Arguments: a name and a value, any number of times. */
  public static void say(Object... pairs) {
    Map<String, Object> object = new LinkedHashMap<>();
    for (int i = 0; i + 1 < pairs.length; i += 2) object.put((String) pairs[i], pairs[i + 1]);
    StringBuilder line = new StringBuilder();
    write(object, line);
    synchronized (System.out) {
      System.out.println(line);
      System.out.flush();
    }
  }

  /** Runs every command of standard input on a thread of its own until the end of input, then ends the process. */
  public static void serve(Handler handler) throws IOException {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = in.readLine()) != null; ) {
      Map<String, Object> members = new Reader(line).object();
      new Thread(() -> answer(handler, members)).start();
    }
    System.exit(0);
  }

  private static void answer(Handler handler, Map<String, Object> members) {
    Object id = members.get("id");
    try {
      say("answer", id, "value", handler.run((String) members.get("operation"), new Command(members)));
    } catch (Throwable e) {
      e.printStackTrace();
      say("answer", id, "error", e.getClass().getSimpleName(), "message", String.valueOf(e.getMessage()));
    }
  }

  private static void write(Object value, StringBuilder out) {
    if (value == null || value instanceof Number || value instanceof Boolean) {
      out.append(value);
    } else if (value instanceof Map) {
      String before = "{";
      for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
        out.append(before);
        write(entry.getKey().toString(), out);
        out.append(": ");
        write(entry.getValue(), out);
        before = ", ";
      }
      out.append(before.equals("{") ? "{}" : "}");
    } else if (value instanceof List) {
      out.append('[');
      for (Iterator<?> i = ((List<?>) value).iterator(); i.hasNext(); ) {
        write(i.next(), out);
        if (i.hasNext()) out.append(", ");
      }
      out.append(']');
    } else {
      out.append('"');
      for (char c : value.toString().toCharArray()) {
        if (c == '"' || c == '\\') out.append('\\');
        if (c < ' ' || c > '~') out.append(String.format("\\u%04x", (int) c));
        else out.append(c);
      }
      out.append('"');
    }
  }

  /** Reads an object of texts, whole numbers, booleans and nulls. */
  private static final class Reader {
    private final String text;
    private int at;

    Reader(String text) {
      this.text = text;
    }

    Map<String, Object> object() {
      Map<String, Object> members = new LinkedHashMap<>();
      expect('{');
      while (next() != '}') {
        String name = string();
        expect(':');
        members.put(name, value());
        if (next() == ',') at++;
      }
      return members;
    }

    private Object value() {
      if (next() == '"') return string();
      int from = at;
      while (",}".indexOf(text.charAt(at)) < 0) at++;
      String word = text.substring(from, at).trim();
      if (word.equals("null")) return null;
      if (word.equals("true") || word.equals("false")) return Boolean.valueOf(word);
      return Long.valueOf(word);
    }

    private String string() {
      StringBuilder out = new StringBuilder();
      expect('"');
      for (char c; (c = text.charAt(at++)) != '"'; ) {
        if (c == '\\') {
          c = text.charAt(at++);
          int plain = "\"\\/bfnrt".indexOf(c);
          if (c == 'u') {
            c = (char) Integer.parseInt(text.substring(at, at + 4), 16);
            at += 4;
          } else {
            c = "\"\\/\b\f\n\r\t".charAt(plain);
          }
        }
        out.append(c);
      }
      return out.toString();
    }

    private char next() {
      while (text.charAt(at) == ' ') at++;
      return text.charAt(at);
    }

    private void expect(char c) {
      if (next() != c) throw new IllegalArgumentException(text);
      at++;
    }
  }
}

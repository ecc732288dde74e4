package dragoman.interop;

import java.io.Serializable;
import java.util.Date;
import java.util.HashMap;
import java.util.Map;

/** Something with texts, numbers, lists, maps and a reference to itself. */
public class Item implements Serializable {
  private static final long serialVersionUID = 1;
  private String name;
  private long[] numbers;
  private Date date;
  private Map<String, Item> parts = new HashMap<>();

  public static Item sample() {
    Item item = new Item();
    item.name = "sämple";
    item.numbers = new long[] {0, -1, 1L << 40, Long.MIN_VALUE};
    item.date = new Date(1700000000123L);
    Item part = new Item();
    part.name = "part";
    item.parts.put("first", part);
    item.parts.put("again", part);
    item.parts.put("whole", item);
    return item;
  }

  /** Whether it is what sample() makes. */
  public boolean isSample() {
    return "sämple".equals(name)
        && java.util.Arrays.equals(numbers, sample().numbers)
        && new Date(1700000000123L).equals(date)
        && parts.size() == 3
        && parts.get("first") == parts.get("again")
        && parts.get("whole") == this
        && "part".equals(parts.get("first").name);
  }

  public String getName() {
    return name;
  }

  public void setName(String name) {
    this.name = name;
  }

  public long[] getNumbers() {
    return numbers;
  }

  public void setNumbers(long[] numbers) {
    this.numbers = numbers;
  }

  public Date getDate() {
    return date;
  }

  public void setDate(Date date) {
    this.date = date;
  }

  public Map<String, Item> getParts() {
    return parts;
  }

  public void setParts(Map<String, Item> parts) {
    this.parts = parts;
  }
}

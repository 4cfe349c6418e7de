package dev.modelserve.clients;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the platform serves (models.go says which models), and values of each data type. */
final class Served {
  static final String ADDRESS = System.getenv("CLIENTS_ADDRESS"); // host:port
  static final String KEY = System.getenv("CLIENTS_KEY");
  static final int AT_ONCE = 32;
  static final int TIMES = 6; // an early refusal that breaks off does so now and then, not always
  static final int MIB = 1 << 20;
  static final int PATIENCE = 120; // seconds: the machine may be busy

  private Served() {}

  /** Requests that are refused before their body is read. */
  record Early(String name, String model, int size, boolean key, int status) {}

  static final List<Early> EARLY =
      List.of(
          new Early("a body over the bound", "echo-fp32", 40 * MIB, true, 413),
          new Early("an unknown model", "never-heard-of", 5 * MIB, true, 404),
          new Early("no key", "echo-fp32", 5 * MIB, false, 401));

  /** The rows of caller i, like no other caller's, in a size of their own. */
  static float[] rows(int i) {
    float[] rows = new float[4 * (1 + i % 5)];
    for (int n = 0; n < rows.length; n++) {
      rows[n] = i * 1000 + n;
    }
    return rows;
  }

  /** 20 MB. */
  static float[] large() {
    float[] large = new float[5_000_000];
    for (int n = 0; n < large.length; n++) {
      large[n] = n;
    }
    return large;
  }

  static byte[] bytes(float... values) {
    ByteBuffer b = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    b.asFloatBuffer().put(values);
    return b.array();
  }

  /** Four elements of each data type, bounds among them, as they are in binary. */
  static Map<String, byte[]> values() {
    Map<String, byte[]> values = new LinkedHashMap<>();
    HexFormat hex = HexFormat.of();
    values.put("BOOL", hex.parseHex("01000001"));
    values.put("UINT8", hex.parseHex("0001feff"));
    values.put("INT8", hex.parseHex("007f80ff"));
    values.put("UINT16", hex.parseHex("000001000200ffff"));
    values.put("INT16", hex.parseHex("0000ffff0080ff7f"));
    values.put("FP16", hex.parseHex("0100003e007cfffb")); // the smallest, 1.5, infinity, the least
    values.put("BF16", hex.parseHex("0100c03f807f7fff"));
    values.put("UINT32", hex.parseHex("000000000100000002000000ffffffff"));
    values.put("INT32", hex.parseHex("00000000ffffffff00000080ffffff7f"));
    values.put("UINT64", hex.parseHex("000000000000000001000000000000000200000000000000ffffffffffffffff"));
    values.put("INT64", hex.parseHex("0000000000000000ffffffffffffffff0000000000000080ffffffffffffff7f"));
    values.put("FP32", bytes(0f, -0f, Float.POSITIVE_INFINITY, Float.MAX_VALUE));
    ByteBuffer doubles = ByteBuffer.allocate(32).order(ByteOrder.LITTLE_ENDIAN);
    doubles.asDoubleBuffer().put(new double[] {0, -0d, Double.NEGATIVE_INFINITY, Double.MAX_VALUE});
    values.put("FP64", doubles.array());
    values.put("BYTES", texts("a", "", "zwölf", "\0"));
    return values;
  }

  static byte[] texts(String... texts) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    for (String text : texts) {
      byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
      out.writeBytes(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(utf8.length).array());
      out.writeBytes(utf8);
    }
    return out.toByteArray();
  }
}

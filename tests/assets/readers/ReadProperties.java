import java.io.FileInputStream;
import java.io.InputStream;
import java.util.Properties;

/** Reads files as java.util.Properties does. Arguments: files. Prints a JSON array with an object for each. */
class ReadProperties {
    public static void main(String[] files) throws Exception {
        StringBuilder json = new StringBuilder("[");
        for (String file : files) {
            Properties properties = new Properties();
            try (InputStream stream = new FileInputStream(file)) {
                properties.load(stream);
            }
            json.append(json.length() > 1 ? ",{" : "{");
            String separator = "";
            for (String name : properties.stringPropertyNames()) {
                json.append(separator);
                append(json, name);
                json.append(':');
                append(json, properties.getProperty(name));
                separator = ",";
            }
            json.append('}');
        }
        System.out.print(json.append(']'));
    }

    private static void append(StringBuilder json, String text) {
        json.append('"');
        for (char unit : text.toCharArray()) {
            json.append(String.format("\\u%04x", (int) unit));
        }
        json.append('"');
    }
}

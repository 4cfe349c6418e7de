"""Trains language-detect.onnx: which language is a sentence in?

    python3 -m pip install numpy onnx
    python3 train.py

A softmax regression on how often each group of three letters occurs, hashed into
512 columns. languagedetect/codec.go counts in the same way, and its test holds
both to the same numbers: change them together.
"""

import re

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

COLUMNS = 512
LANGUAGES = ["de", "en", "es", "fr", "it"]

TEXT = {
    "de": """Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und
        Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen. Jeder hat das Recht auf
        Leben, Freiheit und Sicherheit der Person. Niemand darf in Sklaverei gehalten werden. Wo ist der
        nächste Bahnhof, und wann fährt der Zug nach Hamburg ab? Ich hätte gern eine Tasse Kaffee mit Milch.
        Das Wetter war gestern schlecht, aber heute scheint wieder die Sonne. Können Sie mir bitte sagen, wie
        spät es ist? Meine Schwester arbeitet seit drei Jahren in einem Krankenhaus. Wir haben die Rechnung
        noch nicht bezahlt, weil sie nicht stimmt. Die Kinder spielen im Garten, während ihre Eltern kochen.
        Vielen Dank für Ihre schnelle Antwort; die Lieferung ist gut angekommen. Er hat gesagt, dass er morgen
        nicht kommen kann. Nach der Arbeit gehen wir zusammen einkaufen und danach ins Kino.""",
    "en": """All human beings are born free and equal in dignity and rights. They are endowed with reason and
        conscience and should act towards one another in a spirit of brotherhood. Everyone has the right to
        life, liberty and security of person. No one shall be held in slavery. Where is the nearest station,
        and when does the train to London leave? I would like a cup of coffee with milk. The weather was bad
        yesterday, but today the sun is shining again. Could you please tell me what time it is? My sister has
        been working in a hospital for three years. We have not paid the bill yet, because it is wrong. The
        children are playing in the garden while their parents are cooking. Thank you very much for your quick
        answer; the delivery has arrived safely. He said that he would not be able to come tomorrow. After
        work we are going shopping together and then to the cinema.""",
    "es": """Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de
        razón y conciencia, deben comportarse fraternalmente los unos con los otros. Todo individuo tiene
        derecho a la vida, a la libertad y a la seguridad de su persona. Nadie estará sometido a esclavitud.
        ¿Dónde está la estación más cercana y a qué hora sale el tren para Madrid? Quisiera una taza de café
        con leche. Ayer hizo mal tiempo, pero hoy vuelve a brillar el sol. ¿Me puede decir qué hora es, por
        favor? Mi hermana trabaja desde hace tres años en un hospital. Todavía no hemos pagado la factura,
        porque no es correcta. Los niños juegan en el jardín mientras sus padres cocinan. Muchas gracias por
        su rápida respuesta; el envío ha llegado bien. Dijo que mañana no podía venir. Después del trabajo
        vamos juntos de compras y luego al cine.""",
    "fr": """Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison
        et de conscience et doivent agir les uns envers les autres dans un esprit de fraternité. Tout individu
        a droit à la vie, à la liberté et à la sûreté de sa personne. Nul ne sera tenu en esclavage. Où est la
        gare la plus proche, et à quelle heure part le train pour Paris ? Je voudrais une tasse de café avec
        du lait. Hier il faisait mauvais, mais aujourd'hui le soleil brille de nouveau. Pouvez-vous me dire
        quelle heure il est, s'il vous plaît ? Ma sœur travaille depuis trois ans dans un hôpital. Nous
        n'avons pas encore payé la facture, parce qu'elle est fausse. Les enfants jouent dans le jardin
        pendant que leurs parents cuisinent. Merci beaucoup pour votre réponse rapide ; la livraison est bien
        arrivée. Il a dit qu'il ne pourrait pas venir demain. Après le travail, nous allons faire des courses
        ensemble, puis au cinéma.""",
    "it": """Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione
        e di coscienza e devono agire gli uni verso gli altri in spirito di fratellanza. Ogni individuo ha
        diritto alla vita, alla libertà ed alla sicurezza della propria persona. Nessun individuo potrà essere
        tenuto in stato di schiavitù. Dov'è la stazione più vicina, e a che ora parte il treno per Roma?
        Vorrei una tazza di caffè con il latte. Ieri il tempo era brutto, ma oggi splende di nuovo il sole.
        Mi può dire che ore sono, per favore? Mia sorella lavora da tre anni in un ospedale. Non abbiamo
        ancora pagato la fattura, perché non è giusta. I bambini giocano nel giardino mentre i loro genitori
        cucinano. Grazie mille per la vostra rapida risposta; la consegna è arrivata bene. Ha detto che domani
        non potrà venire. Dopo il lavoro andiamo insieme a fare la spesa e poi al cinema.""",
}


def column(group):
    """The column of a group of letters: FNV-1a of its UTF-8, of 32 bits."""
    hash = 0x811C9DC5
    for byte in group.encode():
        hash = (hash ^ byte) * 0x01000193 & 0xFFFFFFFF
    return hash % COLUMNS


def features(text):
    """How often each column's groups occur, as a vector of length 1."""
    text = " " + " ".join(re.findall(r"[^\W\d_]+", text.lower())) + " "
    counts = numpy.zeros(COLUMNS, numpy.float32)
    for i in range(len(text) - 2):
        counts[column(text[i : i + 3])] += 1
    return counts / numpy.linalg.norm(counts)


def examples():
    """Runs of three words to eight of each text, which calls are like."""
    for label, language in enumerate(LANGUAGES):
        words = TEXT[language].split()
        for size in (3, 5, 8):
            for start in range(len(words) - size + 1):
                yield features(" ".join(words[start : start + size])), label


def train(x, y):
    """Softmax regression by gradient descent, with a little weight decay."""
    weights = numpy.zeros((COLUMNS, len(LANGUAGES)), numpy.float32)
    wanted = numpy.eye(len(LANGUAGES), dtype=numpy.float32)[y]
    for _ in range(2000):
        scores = numpy.exp(x @ weights)
        scores /= scores.sum(1, keepdims=True)
        weights -= 4 * (x.T @ (scores - wanted) / len(x) + 1e-4 * weights)
    return weights


def main():
    x, y = map(numpy.array, zip(*examples()))
    weights = train(x, y)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        ],
        "language-detect",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", COLUMNS])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", len(LANGUAGES)])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"languages": ",".join(LANGUAGES)})
    onnx.checker.check_model(model)
    onnx.save(model, "language-detect.onnx")
    print("right on", f"{(numpy.argmax(x @ weights, 1) == y).mean():.1%}", "of what it was trained on")


if __name__ == "__main__":
    main()

"""Composes the sentence pairs of Everyday: train.tsv, valid.tsv and test.tsv beside this file.

    python3 datasets/everyday-en-de/compose.py

The words and the rules below were written for burn-cht. The same files come out every time.
"""

import random
from collections import Counter
from pathlib import Path

PARTS = {"train": 640, "valid": 80, "test": 80}
SEED = 1


class Noun:
    """English singular and plural; gender; German nominative, accusative (as dative), plural; what it may be like."""

    def __init__(self, english, plural, gender, german, german_plural, adjectives, oblique=None):
        self.english, self.english_plural = english, plural
        self.gender, self.german, self.german_plural = gender, german, german_plural
        self.oblique = oblique or german
        self.adjectives = adjectives.split()


PEOPLE = [
    Noun("man", "men", "m", "Mann", "Männer", "old young big happy"),
    Noun("woman", "women", "f", "Frau", "Frauen", "old young happy"),
    Noun("child", "children", "n", "Kind", "Kinder", "small happy"),
    Noun("girl", "girls", "n", "Mädchen", "Mädchen", "small young happy"),
    Noun("boy", "boys", "m", "Junge", "Jungen", "small young happy", oblique="Jungen"),
    Noun("teacher", "teachers", "m", "Lehrer", "Lehrer", "old new young"),
    Noun("farmer", "farmers", "m", "Bauer", "Bauern", "old young", oblique="Bauern"),
    Noun("doctor", "doctors", "f", "Ärztin", "Ärztinnen", "new young"),
]
ANIMALS = [
    Noun("dog", "dogs", "m", "Hund", "Hunde", "old small big"),
    Noun("cat", "cats", "f", "Katze", "Katzen", "old small beautiful"),
    Noun("horse", "horses", "n", "Pferd", "Pferde", "big old beautiful"),
]
TEXTS = [
    Noun("book", "books", "n", "Buch", "Bücher", "new old good red"),
    Noun("letter", "letters", "m", "Brief", "Briefe", "new old"),
    Noun("newspaper", "newspapers", "f", "Zeitung", "Zeitungen", "new old"),
]
FOOD = [
    Noun("apple", "apples", "m", "Apfel", "Äpfel", "red small good"),
    Noun("cake", "cakes", "m", "Kuchen", "Kuchen", "good big small"),
    Noun("pear", "pears", "f", "Birne", "Birnen", "good small"),
    Noun("egg", "eggs", "n", "Ei", "Eier", "good big"),
]
THINGS = [
    Noun("ball", "balls", "m", "Ball", "Bälle", "red new small"),
    Noun("picture", "pictures", "n", "Bild", "Bilder", "beautiful old new"),
    Noun("flower", "flowers", "f", "Blume", "Blumen", "red beautiful"),
    Noun("lamp", "lamps", "f", "Lampe", "Lampen", "new old big"),
    Noun("car", "cars", "n", "Auto", "Autos", "red new old"),
]
GOODS = TEXTS + FOOD + THINGS
ADJECTIVES = {
    "old": "alt", "young": "jung", "small": "klein", "big": "groß", "happy": "glücklich", "new": "neu",
    "good": "gut", "red": "rot", "beautiful": "schön",
}


class Verb:
    """English base, third person, past, participle; German first person, third person, infinitive, participle."""

    def __init__(self, english, german, objects=()):
        self.base, self.third, self.past, self.participle = [form.replace("_", " ") for form in english.split()]
        self.ich, self.er, self.infinitive, self.german_participle = german.split()
        self.objects = objects


TRANSITIVE = [
    Verb("read reads read read", "lese liest lesen gelesen", TEXTS),
    Verb("write writes wrote written", "schreibe schreibt schreiben geschrieben", TEXTS[:2]),
    Verb("eat eats ate eaten", "esse isst essen gegessen", FOOD),
    Verb("buy buys bought bought", "kaufe kauft kaufen gekauft", GOODS),
    Verb("see sees saw seen", "sehe sieht sehen gesehen", GOODS + ANIMALS + PEOPLE),
    Verb("look_for looks_for looked_for looked_for", "suche sucht suchen gesucht", GOODS + ANIMALS + PEOPLE),
    Verb("find finds found found", "finde findet finden gefunden", GOODS + ANIMALS),
    Verb("draw draws drew drawn", "zeichne zeichnet zeichnen gezeichnet", ANIMALS + PEOPLE + THINGS),
]
INTRANSITIVE = [
    Verb("sleep sleeps slept slept", "schlafe schläft schlafen geschlafen"),
    Verb("play plays played played", "spiele spielt spielen gespielt"),
    Verb("wait waits waited waited", "warte wartet warten gewartet"),
    Verb("sing sings sang sung", "singe singt singen gesungen"),
    Verb("work works worked worked", "arbeite arbeitet arbeiten gearbeitet"),
]
GIVE = [
    Verb("give gives gave given", "gebe gibt geben gegeben", GOODS),
    Verb("show shows showed shown", "zeige zeigt zeigen gezeigt", GOODS),
    Verb("bring brings brought brought", "bringe bringt bringen gebracht", GOODS),
]
PLACES = [
    ("in the garden", "im Garten"), ("in the kitchen", "in der Küche"), ("at school", "in der Schule"),
    ("in the park", "im Park"), ("on the street", "auf der Straße"), ("at home", "zu Hause"),
    ("at the station", "am Bahnhof"), ("under the tree", "unter dem Baum"),
]
TIMES = [
    ("today", "heute"), ("in the evening", "am Abend"), ("every morning", "jeden Morgen"), ("now", "jetzt"),
    ("on Sunday", "am Sonntag"), ("often", "oft"),
]
MODALS = [
    ("can", "kann", "können"), ("must", "muss", "müssen"), ("want to", "will", "wollen"), ("should", "soll", "sollen"),
]
NUMBERS = [("two", "zwei"), ("three", "drei"), ("four", "vier"), ("many", "viele")]

DEFINITE = {
    "nominative": {"m": "der", "f": "die", "n": "das", "p": "die"},
    "accusative": {"m": "den", "f": "die", "n": "das", "p": "die"},
    "dative": {"m": "dem", "f": "der", "n": "dem"},
}
INDEFINITE = {
    "nominative": {"m": "ein", "f": "eine", "n": "ein"},
    "accusative": {"m": "einen", "f": "eine", "n": "ein"},
    "dative": {"m": "einem", "f": "einer", "n": "einem"},
}
WEAK = {  # endings of adjectives after the definite article
    "nominative": {"m": "e", "f": "e", "n": "e", "p": "en"},
    "accusative": {"m": "en", "f": "e", "n": "e", "p": "en"},
    "dative": {"m": "en", "f": "en", "n": "en"},
}
MIXED = {  # after the indefinite one
    "nominative": {"m": "er", "f": "e", "n": "es"},
    "accusative": {"m": "en", "f": "e", "n": "es"},
    "dative": {"m": "en", "f": "en", "n": "en"},
}


class Phrase:
    """A noun phrase or pronoun: its English, its German, third person singular or not, definite or not."""

    def __init__(self, english, german, person="er", definite=True):
        self.english, self.german, self.person, self.definite = english, german, person, definite


def noun_phrase(rng, nouns, case, numbers=("s", "s", "p"), articles="dddii"):
    noun = rng.choice(nouns)
    adjective = rng.choice(noun.adjectives) if rng.random() < 0.4 else None
    number, article = rng.choice(numbers), rng.choice(articles)
    english = [adjective] if adjective else []
    if number == "p":
        english.append(noun.english_plural)
        if article == "d":
            ending = WEAK[case]["p"]
            german = [DEFINITE[case]["p"]]
            english.insert(0, "the")
        else:
            ending = "e"
            count, zahl = rng.choice(NUMBERS)
            german = [zahl]
            english.insert(0, count)
        german += [ADJECTIVES[adjective] + ending] if adjective else []
        german.append(noun.german_plural)
        return Phrase(" ".join(english), " ".join(german), "sie", article == "d")
    english.append(noun.english)
    if article == "d":
        english.insert(0, "the")
        words, endings = DEFINITE, WEAK
    else:
        english.insert(0, "an" if english[0][0] in "aeiou" else "a")
        words, endings = INDEFINITE, MIXED
    german = [words[case][noun.gender]]
    german += [ADJECTIVES[adjective] + endings[case][noun.gender]] if adjective else []
    german.append(noun.german if case == "nominative" else noun.oblique)
    return Phrase(" ".join(english), " ".join(german), "er", article == "d")


def subject(rng, animals=False):
    if rng.random() < 0.3:
        return rng.choice([
            Phrase("I", "ich", "ich"), Phrase("he", "er"), Phrase("she", "sie"), Phrase("we", "wir", "wir"),
        ])
    return noun_phrase(rng, PEOPLE + (ANIMALS if animals else []), "nominative")


def present(verb, who):
    """English and German verb."""
    if who.person == "er":
        return verb.third, verb.er
    return verb.base, verb.ich if who.person == "ich" else verb.infinitive


def have(who):
    return ("has", "hat") if who.person == "er" else ("have", "habe" if who.person == "ich" else "haben")


def action(rng):
    """Verb, English rest, German rest before a closing verb, and the subject."""
    kind = rng.random()
    if kind < 0.6:
        verb = rng.choice(TRANSITIVE)
        what = noun_phrase(rng, verb.objects, "accusative")
        english, german = [what.english], [what.german]
        if rng.random() < 0.35:
            there, dort = rng.choice(PLACES)
            english.append(there)
            german.insert(1 if what.definite else 0, dort)
        return verb, subject(rng), " ".join(english), " ".join(german)
    if kind < 0.8:
        verb = rng.choice(INTRANSITIVE)
        there, dort = rng.choice(PLACES)
        who = subject(rng, animals=verb.base in ("sleep", "play", "wait"))
        return verb, who, there, dort
    verb = rng.choice(GIVE)
    whom = noun_phrase(rng, PEOPLE, "dative", numbers="s", articles="d")
    what = noun_phrase(rng, verb.objects, "accusative", articles="i")
    return verb, subject(rng), f"{whom.english} {what.english}", f"{whom.german} {what.german}"


def statement(rng):
    verb, who, english, german = action(rng)
    does, tut = present(verb, who)
    return f"{who.english} {does} {english}.", f"{who.german} {tut} {german}."


def timed(rng):
    verb, who, english, german = action(rng)
    when, wann = rng.choice(TIMES)
    does, tut = present(verb, who)
    if when == "often":
        return f"{who.english} often {does} {english}.", f"{who.german} {tut} oft {german}."
    return f"{when} {who.english} {does} {english}.", f"{wann} {tut} {who.german} {german}."


def past(rng):
    verb, who, english, german = action(rng)
    hat = have(who)[1]
    return (
        f"yesterday {who.english} {verb.past} {english}.",
        f"gestern {hat} {who.german} {german} {verb.german_participle}.",
    )


def perfect(rng):
    verb, who, english, german = action(rng)
    has, hat = have(who)
    return (
        f"{who.english} {has} already {verb.participle} {english}.",
        f"{who.german} {hat} schon {german} {verb.german_participle}.",
    )


def modal(rng):
    verb, who, english, german = action(rng)
    must, muss, müssen = rng.choice(MODALS)
    if must == "want to" and who.person == "er":
        must = "wants to"
    return (
        f"{who.english} {must} {verb.base} {english}.",
        f"{who.german} {muss if who.person in ('er', 'ich') else müssen} {german} {verb.infinitive}.",
    )


def future(rng):
    verb, who, english, german = action(rng)
    wird = {"er": "wird", "ich": "werde"}.get(who.person, "werden")
    return (
        f"tomorrow {who.english} will {verb.base} {english}.",
        f"morgen {wird} {who.german} {german} {verb.infinitive}.",
    )


def question(rng):
    verb, who, english, german = action(rng)
    do = "does" if who.person == "er" else "do"
    return f"{do} {who.english} {verb.base} {english}?", f"{present(verb, who)[1]} {who.german} {german}?"


def negation(rng):
    verb = rng.choice(TRANSITIVE)
    who = subject(rng)
    what = noun_phrase(rng, verb.objects, "accusative", articles="d")
    do = "does" if who.person == "er" else "do"
    return (
        f"{who.english} {do} not {verb.base} {what.english}.",
        f"{who.german} {present(verb, who)[1]} {what.german} nicht.",
    )


def possession(rng):
    who = subject(rng)
    has, hat = have(who)
    what = noun_phrase(rng, GOODS + ANIMALS, "accusative", numbers="s", articles="i")
    if rng.random() < 0.5:
        return f"{who.english} {has} {what.english}.", f"{who.german} {hat} {what.german}."
    nothing = "no " + what.english.split(" ", 1)[1]
    return f"{who.english} {has} {nothing}.", f"{who.german} {hat} k{what.german}."


def quality(rng):
    noun = rng.choice(PEOPLE + ANIMALS + GOODS)
    adjective = rng.choice(noun.adjectives)
    very, sehr = rng.choice([("", ""), ("very ", "sehr "), ("not ", "nicht "), ("too ", "zu ")])
    if rng.random() < 0.6:
        the, subject_, is_, ist = DEFINITE["nominative"][noun.gender], (noun.english, noun.german), "is", "ist"
    else:
        the, subject_, is_, ist = "die", (noun.english_plural, noun.german_plural), "are", "sind"
    return (
        f"the {subject_[0]} {is_} {very}{adjective}.",
        f"{the} {subject_[1]} {ist} {sehr}{ADJECTIVES[adjective]}.",
    )


def reason(rng):
    verb, who, english, german = action(rng)
    does, tut = present(verb, who)
    first, erst = quality(rng)
    return f"{first[:-1]} because {who.english} {does} {english}.", f"{erst[:-1]}, weil {who.german} {german} {tut}."


RULES = [statement] * 4 + [timed] * 3 + [past, modal] * 2 + [future, perfect, question, negation, possession, quality]


def sentence(rng):
    first, second = rng.choice(RULES)(rng)
    return first[0].upper() + first[1:], second[0].upper() + second[1:]


def spelled(text):
    return text.lower().strip(".?").replace(",", "").split()


def main():
    rng = random.Random(SEED)
    pairs = {}
    while len(pairs) < sum(PARTS.values()):
        english, german = sentence(rng)
        pairs.setdefault(english, german)
    # Sentences with rare words come first, into training: what is tested can be known from there, word by word.
    counts = [Counter(word for pair in pairs.items() for word in spelled(pair[side])) for side in (0, 1)]
    rarity = [min(counts[side][word] for side in (0, 1) for word in spelled(pair[side])) for pair in pairs.items()]
    pairs = [pair for rare in (True, False) for pair, least in zip(pairs.items(), rarity) if (least < 8) == rare]
    known = [{word for pair in pairs[: PARTS["train"]] for word in spelled(pair[side])} for side in (0, 1)]
    assert all(set(spelled(pair[side])) <= known[side] for pair in pairs for side in (0, 1))
    start = 0
    for part, count in PARTS.items():
        text = "".join(f"{english}\t{german}\n" for english, german in pairs[start:start + count])
        Path(__file__).with_name(f"{part}.tsv").write_text(text, encoding="utf-8")
        start += count


if __name__ == "__main__":
    main()

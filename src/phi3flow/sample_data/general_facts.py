"""What everybody knows: the tables behind the general chat corpus."""

from __future__ import annotations

from phi3flow.sample_data.catalog import PRODUCTS


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _pairs(text: str) -> dict[str, str]:
    """Return {left: right} of "left:right …"; an underscore stands for a space."""
    entries = (entry.split(":") for entry in text.split())
    return {left: right.replace("_", " ") for left, right in entries}


CAPITALS = _pairs(
    "France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Austria:Vienna Poland:Warsaw "
    "Hungary:Budapest Greece:Athens Sweden:Stockholm Norway:Oslo Denmark:Copenhagen Finland:Helsinki "
    "Ireland:Dublin Belgium:Brussels Romania:Bucharest Bulgaria:Sofia Croatia:Zagreb Slovenia:Ljubljana "
    "Slovakia:Bratislava Serbia:Belgrade Estonia:Tallinn Latvia:Riga Lithuania:Vilnius Iceland:Reykjavik "
    "Switzerland:Bern Turkey:Ankara Egypt:Cairo Morocco:Rabat Kenya:Nairobi Ghana:Accra Senegal:Dakar "
    "Japan:Tokyo China:Beijing India:New_Delhi Nepal:Kathmandu Thailand:Bangkok Vietnam:Hanoi "
    "Indonesia:Jakarta Mongolia:Ulaanbaatar Iran:Tehran Iraq:Baghdad Jordan:Amman Lebanon:Beirut "
    "Canada:Ottawa Cuba:Havana Peru:Lima Chile:Santiago Colombia:Bogota Ecuador:Quito Uruguay:Montevideo "
    "Argentina:Buenos_Aires Brazil:Brasilia Australia:Canberra"
)

OPPOSITES = _pairs(
    "hot:cold big:small tall:short fast:slow old:young rich:poor light:dark early:late hard:soft wet:dry "
    "full:empty open:closed happy:sad strong:weak loud:quiet clean:dirty thick:thin wide:narrow deep:shallow "
    "near:far good:bad new:used easy:difficult cheap:expensive safe:dangerous sweet:bitter sharp:blunt "
    "first:last right:wrong true:false brave:timid calm:nervous lazy:busy polite:rude rough:smooth "
    "tight:loose heavy:weightless ancient:modern simple:complex public:private"
)

TRANSLATIONS = {
    "German": _pairs(
        "house:Haus water:Wasser bread:Brot tree:Baum sun:Sonne moon:Mond book:Buch milk:Milch "
        "door:Tür window:Fenster table:Tisch chair:Stuhl night:Nacht day:Tag friend:Freund mother:Mutter "
        "father:Vater school:Schule street:Straße apple:Apfel horse:Pferd bird:Vogel fish:Fisch heart:Herz"
    ),
    "Spanish": _pairs(
        "house:casa water:agua bread:pan tree:árbol sun:sol moon:luna book:libro milk:leche "
        "door:puerta window:ventana table:mesa chair:silla night:noche day:día friend:amigo mother:madre "
        "father:padre school:escuela street:calle apple:manzana horse:caballo bird:pájaro fish:pez heart:corazón"
    ),
    "Korean": _pairs(
        "house:집 water:물 bread:빵 tree:나무 sun:해 moon:달 book:책 milk:우유 door:문 window:창문 "
        "table:탁자 chair:의자 night:밤 day:낮 friend:친구 mother:어머니 father:아버지 school:학교 street:거리 "
        "apple:사과 horse:말 bird:새 fish:물고기 heart:심장"
    ),
    "Chinese": _pairs(
        "house:房子 water:水 bread:面包 tree:树 sun:太阳 moon:月亮 book:书 milk:牛奶 door:门 window:窗户 "
        "table:桌子 chair:椅子 night:夜晚 day:白天 friend:朋友 mother:母亲 father:父亲 school:学校 street:街道 "
        "apple:苹果 horse:马 bird:鸟 fish:鱼 heart:心"
    ),
}

KINDS = {
    "an animal": _words("horse dog cat cow sheep tiger lion rabbit fox wolf bear goat mouse elephant monkey"),
    "a fruit": _words("apple pear plum cherry banana orange lemon grape peach melon mango kiwi apricot fig"),
    "a vegetable": _words("carrot onion potato cabbage spinach leek radish pumpkin broccoli celery turnip"),
    "a musical instrument": _words("piano violin flute trumpet drum guitar cello harp clarinet oboe organ"),
    "a tool": _words("hammer saw screwdriver wrench chisel spade rake axe pliers crowbar"),
    "a piece of furniture": _words("table chair sofa wardrobe desk shelf stool bench cupboard armchair"),
    "a vehicle": _words("car bus train bicycle lorry tram ship aeroplane helicopter scooter tractor"),
    "a piece of clothing": _words("shirt coat hat scarf glove sock skirt jacket belt jumper"),
    "a profession": _words("baker teacher nurse carpenter pilot farmer painter plumber lawyer gardener"),
    "a sport": _words("football tennis rowing hockey swimming cycling boxing fencing golf skiing"),
}

PLURALS = _pairs(
    "cat:cats dog:dogs box:boxes bus:buses city:cities baby:babies man:men woman:women child:children "
    "foot:feet tooth:teeth mouse:mice goose:geese leaf:leaves knife:knives wolf:wolves life:lives "
    "potato:potatoes hero:heroes watch:watches glass:glasses story:stories key:keys toy:toys day:days "
    "sheep:sheep fish:fish ox:oxen wife:wives half:halves"
)

PAST_TENSES = _pairs(
    "go:went see:saw eat:ate take:took come:came give:gave write:wrote read:read speak:spoke drive:drove "
    "sing:sang swim:swam run:ran begin:began drink:drank buy:bought think:thought bring:brought "
    "teach:taught catch:caught find:found keep:kept sleep:slept leave:left meet:met sit:sat stand:stood "
    "win:won lose:lost pay:paid walk:walked play:played open:opened help:helped ask:asked work:worked"
)

AUTHORS = {
    "Hamlet": "William Shakespeare",
    "Faust": "Johann Wolfgang von Goethe",
    "Don Quixote": "Miguel de Cervantes",
    "War and Peace": "Leo Tolstoy",
    "Emma": "Jane Austen",
    "Oliver Twist": "Charles Dickens",
    "Moby-Dick": "Herman Melville",
    "Dracula": "Bram Stoker",
    "Frankenstein": "Mary Shelley",
    "Jane Eyre": "Charlotte Brontë",
    "Les Misérables": "Victor Hugo",
    "Walden": "Henry David Thoreau",
    "Middlemarch": "George Eliot",
    "Treasure Island": "Robert Louis Stevenson",
    "The Time Machine": "H. G. Wells",
    "The Divine Comedy": "Dante Alighieri",
    "Crime and Punishment": "Fyodor Dostoevsky",
    "The Trial": "Franz Kafka",
    "Madame Bovary": "Gustave Flaubert",
    "Heidi": "Johanna Spyri",
}

FOUNDERS = {
    "Microsoft": "Bill Gates and Paul Allen",
    "Apple": "Steve Jobs, Steve Wozniak and Ronald Wayne",
    "Amazon": "Jeff Bezos",
    "Google": "Larry Page and Sergey Brin",
    "Ford": "Henry Ford",
    "IKEA": "Ingvar Kamprad",
    "Sony": "Masaru Ibuka and Akio Morita",
    "Honda": "Soichiro Honda",
    "Ferrari": "Enzo Ferrari",
    "Lego": "Ole Kirk Christiansen",
    "Adidas": "Adi Dassler",
    "Siemens": "Werner von Siemens and Johann Georg Halske",
    "Nokia": "Fredrik Idestam",
    "Nintendo": "Fusajiro Yamauchi",
    "Michelin": "Édouard and André Michelin",
    "Intel": "Robert Noyce and Gordon Moore",
}

ELEMENTS = _pairs(
    "hydrogen:H helium:He lithium:Li carbon:C nitrogen:N oxygen:O fluorine:F neon:Ne sodium:Na "
    "magnesium:Mg aluminium:Al silicon:Si phosphorus:P sulphur:S chlorine:Cl argon:Ar potassium:K "
    "calcium:Ca iron:Fe nickel:Ni copper:Cu zinc:Zn silver:Ag tin:Sn iodine:I gold:Au mercury:Hg lead:Pb"
)

MONTHS = _words("January February March April May June July August September October November December")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")

ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")

NAMES = _words(
    "Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Karin Leo Mia Noah Olga Paul Rosa Simon Tina "
    "Viktor Wanda Yusuf Zoe Amir Bianca Carlos Dina Elif Farid Gita Hana Ivan Jin Kofi Lucia Marco Nadia "
    "Omar Petra Ravi"
)

HOBBIES = (
    "chess",
    "painting",
    "cooking",
    "hiking",
    "reading",
    "gardening",
    "dancing",
    "cycling",
    "sailing",
    "singing",
    "fishing",
    "photography",
    "knitting",
    "climbing",
    "astronomy",
    "pottery",
)

GREETINGS = {
    "en": (
        ("Hello!", "Hello! How can I help you?"),
        ("Hi, how are you?", "I am fine, thank you. How can I help you?"),
        ("Good morning!", "Good morning! What can I do for you?"),
        ("Good evening!", "Good evening! What can I do for you?"),
        ("Who are you?", "I am an assistant. Ask me anything."),
        ("What can you do?", "I can answer questions and help with words and numbers."),
        ("Thank you!", "You are welcome!"),
        ("Thanks a lot for your help.", "You are welcome! Is there anything else?"),
        ("Goodbye!", "Goodbye! Have a nice day."),
    ),
    "de": (
        ("Hallo!", "Hallo! Wie kann ich helfen?"),
        ("Guten Tag, wie geht es Ihnen?", "Danke, gut. Wie kann ich helfen?"),
        ("Vielen Dank!", "Gern geschehen!"),
        ("Auf Wiedersehen!", "Auf Wiedersehen! Einen schönen Tag noch."),
    ),
    "es": (
        ("¡Hola!", "¡Hola! ¿En qué puedo ayudar?"),
        ("Buenos días, ¿cómo está?", "Muy bien, gracias. ¿En qué puedo ayudar?"),
        ("¡Muchas gracias!", "¡De nada!"),
        ("¡Adiós!", "¡Adiós! Que tenga un buen día."),
    ),
    "ko": (
        ("안녕하세요!", "안녕하세요! 무엇을 도와드릴까요?"),
        ("감사합니다.", "천만에요!"),
        ("안녕히 계세요.", "안녕히 가세요. 좋은 하루 되세요."),
    ),
    "zh": (
        ("你好！", "你好！有什么可以帮你？"),
        ("谢谢！", "不客气！"),
        ("再见！", "再见！祝你今天愉快。"),
    ),
}

_FIRST = _words("Bor Cal Dun Fal Gor Hal Kel Lun Mer Nor Pol Rin Sel Tor Vol Zan")
_SECOND = _words("dax mik net quin ros tavo bel wick xon zet")
_APPLIANCES = tuple(product.split(maxsplit=1)[1] for product in PRODUCTS)

DEVICES = tuple(
    f"{first}{second} {_APPLIANCES[(row + column) % len(_APPLIANCES)]}"
    for row, first in enumerate(_FIRST)
    for column, second in enumerate(_SECOND)
)
"""Devices of other makers, also made up: a base that can repeat a strange name can learn about another."""

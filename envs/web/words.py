"""Words that tasks are made of: made-up or common names, no data of anybody."""


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WORDS = _listed(
    "Ok Cancel Submit Yes No Okay Next Back Send Save Open Close Print Share Undo Redo Copy Paste "
    "Start Stop Play Pause Reset Apply Login Help About More Less Done Edit View Find Sort Filter"
)
PLAIN = _listed(
    "lorem ipsum dolor amet magna vitae nulla tellus arcu eget purus felis massa risus augue "
    "morbi porta velit ornare mattis lectus justo quis enim erat sapien nisi donec semper urna"
)
NAMES = _listed(
    "Ana Boris Carla Dmitri Elena Farid Greta Hugo Ines Jonas Keiko Lars Mina Nils Olga Pablo Qing "
    "Rosa Sven Tara Umar Vera Wim Xenia Yusuf Zoe"
)
FAMILIES = _listed(
    "Adams Berg Costa Dubois Evans Fischer Garcia Haas Ito Jensen Klein Lopez Moreau Novak Olsen "
    "Perez Quinn Rossi Silva Tanaka Ueda Vega Weber Young Zhou"
)
COUNTRIES = _listed(
    "Argentina Austria Belgium Brazil Canada Chile Denmark Egypt Estonia Finland France Germany "
    "Ghana Greece Iceland India Ireland Italy Japan Kenya Latvia Mexico Morocco Nepal Norway Peru "
    "Poland Portugal Spain Sweden Turkey Uganda Vietnam Zambia"
)
CITIES = _listed(
    "Amsterdam Athens Atlanta Barcelona Berlin Boston Brussels Budapest Cairo Chicago Copenhagen "
    "Dallas Denver Dublin Geneva Hamburg Helsinki Istanbul Lisbon London Lyon Madrid Milan Miami "
    "Munich Nairobi Naples Oslo Paris Porto Prague Rome Seattle Seville Tokyo Vienna Warsaw Zurich"
)
STREETS = _listed("Oak Elm Maple Cedar Lake Hill Park River Church Mill Station Garden")
PRODUCTS = _listed("Lamp Chair Desk Mug Clock Radio Bottle Basket Pillow Blanket Kettle Mirror")
FRUIT = _listed("Apple Banana Cherry Grape Lemon Mango Orange Papaya Peach Pear Plum Quince")

"""Words of the sentence world. The held-out nouns share no word with the training nouns."""

KIND_NOUNS = tuple("car bicycle tree house cat dog chair lamp ball boat cup umbrella".split())

NOUNS = KIND_NOUNS + tuple(
    """
    apple arch armchair backpack bag balcony balloon banana bank barn barrel basket bat bath bathtub beach bead
    bear bed bee bell belt bench bin bird blanket blender board book bookcase boot bottle bowl box boy bread
    brick bridge broom brush bucket building bun bus bush butterfly button cabin cake calculator camel camera
    candle cap carpet carrot cart castle cathedral ceiling cherry chicken chimney church city clock cloud clown
    coat coffee coin computer cookie couch cow crab crate crow crown curtain cushion deer desk dinosaur dish
    doll donkey door dragon drawer dress drum duck eagle egg elephant engine envelope eye fan fence ferry field
    fish flag flower fork fountain fox fridge frog fruit garage garden gate ghost gift girl glass globe glove
    goat goose grape grass guitar hammer hand hat hedge helicopter helmet hen hill horse hotel hut iron jacket
    jar jeep jug kettle key keyboard kite knife ladder lake laptop leaf lemon letter lighthouse lion lizard log
    lorry machine man map mattress microphone microwave mill mirror monkey moon motorbike motorcycle mountain
    mouse mug mushroom newspaper notebook oak onion orchid oven owl painting palm pan panda paper parrot path
    pencil person phone piano picture pig pigeon pillow pineapple pipe pizza plane plant plate pond poster pot
    potato printer pumpkin puppy purse rabbit radio railing rat road robot rock rocket roof rope rose rug
    sandwich scarf scissors scooter screen seagull shark sheep shelf ship shirt shoe shop sign sink skirt
    skyscraper snake snowman sofa spider spoon stairs star statue stone stool stove suitcase sun sweater
    sword table tank taxi teapot teddy telephone television temple tent tiger toaster toilet tomato tower toy
    tractor train tram trolley trousers truck trumpet tulip turtle typewriter van vase violin wagon wall
    wardrobe watch waterfall well whale wheel window woman zebra
    acorn airplane alarm almond anchor ant antelope apron armour arrow artichoke asparagus astronaut avocado axe
    baby badger bagel bamboo bandage banjo banner barbecue baseball bathrobe battery beanbag beetle bikini binoculars
    biscuit bison blackbird blackboard bluebell boulder bouquet bracelet branch briefcase broccoli buffalo buggy bulb
    bunker buoy burger cabbage cabinet cage calendar canal cannon canyon cape cardigan carousel cauliflower cellar
    cheese chess chimpanzee chipmunk chopsticks clam clarinet cliff cobra cockpit coconut collar comb cork cottage
    cougar cricket croissant cucumber cupboard cupcake cushion dagger daisy dandelion dartboard diamond doorbell
    doughnut dove dragonfly dumpling earring easel eel elevator emerald escalator excavator farmer fern fiddle
    firefly fisherman flamethrower flute football footstool forklift fortress freezer galaxy gazelle gazebo
    geranium ginger glacier goblet goldfish gorilla gramophone grapefruit greenhouse hairbrush handbag handkerchief
    harmonica haystack hedgehog heron hippie hoodie hoover horseshoe hourglass hurdle hut hyena iceberg icicle
    iguana island ivy jackal jaguar jeans jewel jukebox juniper kebab kennel kingfisher kiosk kiwi ladle ladybird
    lasso lavender leopard lettuce lilac limousine lipstick llama locker locomotive loom lynx magnet magpie mango
    mantelpiece maple marigold mascot meadow medal megaphone melon mermaid meteor minibus mole moose mop mosque
    moth muffin mule nest nightstand nutcracker oar oasis octopus olive omelette orchestra organ ornament oyster
    pancake parachute peach pear pebble pendulum pepper perfume petunia pickaxe pickle pitchfork plum polecat
    pond pony poppy porcupine primrose propeller puddle pug puma puppet pylon python quail quilt radish raft
    raincoat raspberry raven razor reindeer ribbon robin rucksack sailor salmon sandal satellite saucepan saucer
    sausage scale scorpion scroll seahorse seal seesaw shrimp shovel shrub signpost skateboard skeleton skunk slide
    slipper snail soldier spade spaceship sparrow spear sphinx spinach sponge squid squirrel stapler starfish
    stork strawberry stroller submarine sunflower swing syringe tambourine tapestry teabag telescope terrier
    thermometer thermos thistle throne tie toad toadstool toothbrush torch tortoise totem towel trolleybus trombone
    trophy trout tuba turkey turnip tutu ukulele vacuum veil viper vulture waffle wallet walnut warthog wasp
    weasel whistle wig willow wolf wombat woodpecker worm wreath xylophone yak yurt
    """.split()
)

MODIFIERS = tuple(
    """
    coffee garden kitchen sports racing mountain street city beach fishing sailing office desk floor table
    rubber teddy apple palm pine toy water wine police fire school steam hot picnic bath dining rocking bus
    stone brick glass paper traffic post airport alpine animal barn bamboo birthday bronze bedroom canvas cartoon
    ceramic chess chocolate christmas cloth college concert corner cowboy crystal desert diamond dinner easter
    evening fairy family farm field flower football forest golf guard harvest hospital hunting ice ivory jazz
    leather library linen lunch meadow metro midnight museum night nylon ocean opera orchestra palace park party
    pirate plaster plastic pocket porcelain railway rescue river roof satin school ship shower silk silver sky
    snow space spring station steel straw summer sun swimming teak theatre tin travel tropical valley wedding
    wicker winter wool zoo
    """.split()
)

ADJECTIVES = tuple(
    """
    old new wooden shiny dirty broken tall short round square pretty ugly modern antique vintage plastic metal
    striped spotted fluffy furry heavy fancy rusty empty cute sleeping parked huge giant golden wet
    """.split()
)

COLOUR_WORDS = tuple("red orange yellow green blue purple white black pink brown grey gray".split())
SHADES = ("dark", "light", "bright", "pale", "deep")

SIDE_PREFIXES = tuple(
    """left right leftmost rightmost biggest smallest largest big small middle upper lower front back first
    second other""".split()
)
SIDE_SUFFIXES = tuple(
    line.strip()
    for line in """on the left, on the right, on the left side, on the right side, in the middle, in the centre,
    at the top, at the bottom, at the back, in front, in the background, in the foreground, in the corner,
    to the left, to the right, at the left, at the right, in the center, next to the {N}, near the {N},
    behind the {N}, under the {N}, in front of the {N}, on the {N}, beside the {N}""".split(",")
)

HELD_OUT_NOUNS = tuple(
    """
    anvil aquarium accordion beaver bonsai bulldozer cactus canoe caravan cello chandelier compass crocodile
    dolphin dresser falcon fireplace flamingo giraffe gnome gondola hamster hammock harp hippo hydrant igloo
    jellyfish kangaroo kayak koala lantern lobster mailbox mannequin ostrich otter pagoda parasol peacock
    pelican penguin pretzel pyramid raccoon rhinoceros saxophone scarecrow sculpture sleigh sundial surfboard
    swan tricycle trampoline treadmill unicorn volcano walrus watermelon wheelbarrow windmill wizard yacht
    """.split()
)
HELD_OUT_MODIFIERS = tuple("harbour velvet copper marble circus village jungle hockey tennis cotton".split())

"""Words that keys are made of and that are counted: plain English ones, of which none is part of another.

What is found is found as part of a text, so that of `art` and `party` the one would be answered by the other.
"""

from __future__ import annotations

from typing import Final


def _each(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES: Final = _each("""
    abrupt absent amber ancient angry anxious arctic awful awkward bashful beige bitter bland blond bold brave
    breezy brief bright brisk broad bumpy busy calm candid careful casual chilly chubby civic clever clumsy cozy
    crafty crimson crooked cruel cuddly curious curly damp daring dear decent deep dense dizzy dreary dusty eager
    early earnest easy elegant empty equal exact exotic fancy fearless feeble fierce flimsy fluffy fond fragile
    frail fresh frosty funny fuzzy gentle giant gifted glad gloomy golden graceful grand grateful gray greedy grumpy
    handsome happy harsh hasty heavy hollow honest hostile huge humble hungry idle immense jolly joyful keen kind
    large lavish lazy lively lonely loud lovely loyal lucky magenta major massive mature mellow merry mighty minor
    modern modest muddy narrow nasty neat nervous nimble noble noisy obscure ornate pale patient perfect pleasant
    polite proud pure purple quaint quick quiet rapid rare remote rigid robust rotten rough royal rude rural rusty
    salty scarlet secret severe shallow sharp shiny short silent simple sincere sleepy slender smooth snowy soft
    solemn sour spicy spry stale steep stern sticky strange strict stubborn sturdy sunny superb sweet swift tender
    tidy timid tiny tough tranquil true ugly unique urban useful vague vain vast vivid warm wealthy weary weird
    wicked wide wild windy wise witty wooden worthy yellow young zany
""")

NOUNS: Final = _each("""
    acorn album almond ankle anvil apple apron aspen atlas attic badge bakery balcony ballad balloon bamboo banana
    banjo banner barley barrel basin basket beacon beaver bedroom beetle biscuit bishop blanket blossom bonnet
    border bottle boulder bracelet branch bridge bronze broom bucket buffalo bugle bundle butter button cabbage
    cabin cactus camel camera canal candle canoe canvas canyon captain caravan carbon cargo carpet carrot castle
    cavern cedar cellar cello chapel chapter cherry chimney circus citrus clarinet cliff clinic clover cobbler
    coconut coffee collar colony comet compass copper coral cottage cotton cousin cradle crane crater crayon creek
    cricket crystal cupboard curtain cushion daisy dancer dentist desert diamond dinner doctor dolphin donkey dragon
    drawer drum dune eagle elbow elder elephant emerald engine envelope evening fabric factory falcon farmer feather
    fence ferry fiddle finch flamingo flannel flute forest fossil fountain freight friend galaxy gallery garden
    garlic gazelle gecko ginger giraffe glacier glove goblet gorilla granite grape guitar hamlet hammer hammock
    harbor harvest hazel hedge helmet heron hockey honey horizon hornet hotel iceberg igloo insect island ivory
    jacket jaguar jasmine jelly jigsaw journal jungle juniper kayak kennel kernel kettle kidney kitchen kitten kiwi
    ladder lagoon lantern laptop laundry leather lemon leopard lettuce library lilac linen lizard lobster locket
    locust lumber lynx magnet mallet mango mantle maple marble market marsh meadow medal melon mercury meteor mirror
    mitten monkey mosaic mountain muffin museum mustard napkin nectar needle nephew nickel noodle notebook nurse
    nutmeg oasis ocean office olive onion opera orange orbit orchard orchid ostrich otter outpost oven oxygen oyster
    paddle palace pancake panther papaya parade parrot parsley pasture patio peach peacock peanut pearl pebble
    pelican pencil pepper piano pickle picnic pigeon pillow pirate planet plaza plum pocket poet pond poppy porch
    potato prairie pretzel prince puddle pumpkin puppet puzzle pyramid quarry quartz quilt rabbit radio radish
    raisin raven recipe reef ribbon river robin rocket roof rooster ruby saddle saffron salad salmon sandal satchel
    saucer sausage scarf school scooter scroll seaweed shadow shelf shovel shrimp silk silver sister skillet sleigh
    sloth snail soldier sparrow spider spinach sponge spoon squirrel stadium statue stove straw subway sugar summit
    surgeon swamp sweater table tailor tangerine teacher temple tent thimble throne thunder tiger timber toast
    tobacco tomato tortoise towel tractor trumpet tulip tunnel turkey turnip turtle tutor umbrella uncle unicorn
    urchin valley vanilla velvet vessel village vinegar violin volcano voyage vulture waffle wagon walnut walrus
    weasel whale wheat whistle widow willow window winter wizard wolf yacht yogurt zebra zeppelin
""")

VERBS: Final = _each("""
    accept admire admit adopt advise agree amuse announce appear applaud approve argue arrange arrive ascend assist
    attach attend avoid balance bathe begin behave believe belong blink borrow bother bounce breathe burn bury carve
    celebrate choose clap climb collect combine complain confess connect consider cough count crawl create crush
    dazzle debate decide decline deliver depend describe deserve destroy devour discover dive divide doubt dream
    drift drive educate embrace employ encourage enjoy enter erase escape examine excite exist expand explain
    explore fasten fetch flap flee float follow forbid forget forgive gallop gather giggle glance glide gossip grab
    greet grow guess hesitate hover hunt imagine improve include inform inherit insist inspire invent invite juggle
    kneel knit laugh launch learn lift linger listen manage marry measure melt mend mention mumble murmur navigate
    notice obey observe obtain occur offer oppose pause perform permit persuade plead pounce praise predict prefer
    prepare pretend prevent protect provide publish pull punish pursue push question rebuild receive recite recover
    reduce refuse regret rejoice relax rely remain remember remove repair repeat replace rescue resemble resist
    retire return reveal rinse roam scold scrape scribble search shiver shout shrug sigh sing skip slip smile sneeze
    snore solve speak splash sprinkle squeeze stroll study succeed suggest supply suppose surprise surround survive
    swallow sway swim tease tempt thank think tickle touch trace travel tremble trust twist unlock vanish visit wait
    wander warn wash weave whisper wink wonder worry wrestle write yawn
""")

WORDS: Final = tuple(sorted((*ADJECTIVES, *NOUNS, *VERBS)))
